"""What is kept of a block of examples, so that the kernel of two blocks is a few matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import scipy  # whose parts load when first used
import torch
from torch import Tensor

__all__ = ["Factor", "Gradients", "Outer", "contract", "inner", "mirrored"]

_SMALL = 64  # rows below which half the product costs as much as all of it
_TILE = 128  # rows mirrored at a time
_SYRK = {torch.float32: "ssyrk", torch.float64: "dsyrk"}  # PyTorch has none


@dataclass(frozen=True)
class Gradients:
    """The gradients themselves.

    Attributes:
        rows: gradient of each output of each example, ``(b, k, weights)``.
    """

    rows: Tensor

    def kernel(self, other: Gradients, full: bool) -> Tensor:
        """``(b1, b2, k, k)``, or summed over equal outputs ``(b1, b2)``."""
        return _outputs(self.rows, other.rows, full)


@dataclass(frozen=True)
class Outer:
    """Gradients that are outer products, as a dense layer has them: output gradient times input.

    Attributes:
        deltas: gradient of each output with respect to the layer's own outputs, ``(b, k, q)``.
        inputs: what entered the layer, ``(b, p)``; ``None`` where the weights do not count.
        bias: whether the biases count, each an input of 1.
    """

    deltas: Tensor
    inputs: Tensor | None
    bias: bool

    def kernel(self, other: Outer, full: bool) -> Tensor:
        """``(b1, b2, k, k)``, or summed over equal outputs ``(b1, b2)``."""
        kernel = _outputs(self.deltas, other.deltas, full)
        if self.inputs is None or other.inputs is None:
            return kernel
        products = inner(self.inputs, other.inputs)
        if self.bias:
            products += 1
        return kernel.mul_(products[:, :, None, None] if full else products)


Factor = Gradients | Outer


def contract(first: list[Factor], second: list[Factor], full: bool) -> Tensor:
    """The kernel of two blocks: the sum over layers."""
    total: Tensor | None = None
    for a, b in zip(first, second, strict=True):
        part = a.kernel(b, full)  # type: ignore[arg-type]  # the same method made both
        total = part if total is None else total.add_(part)
    assert total is not None  # some layer is trained
    return total


def inner(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b.T``; where both are the same tensor its lower triangle at least, for :func:`mirrored`."""
    if a is not b or len(a) < _SMALL or a.device.type != "cpu" or a.dtype not in _SYRK:
        return a @ b.mT
    product = getattr(scipy.linalg.blas, _SYRK[a.dtype])
    return torch.from_numpy(product(1.0, a.detach().contiguous().numpy().T, trans=1)).mT


def mirrored(lower: Tensor) -> Tensor:
    """The lower triangle of a square matrix and its mirror image, in place."""
    for at in range(0, len(lower), _TILE):
        below = lower[at : at + _TILE, at : at + _TILE].tril()
        lower[at : at + _TILE, at : at + _TILE] = below + below.tril(-1).mT
        lower[at : at + _TILE, at + _TILE :] = lower[at + _TILE :, at : at + _TILE].mT
    return lower


def _outputs(a: Tensor, b: Tensor, full: bool) -> Tensor:
    left = a.flatten(0, 1) if full else a.flatten(1)
    right = left if b is a else (b.flatten(0, 1) if full else b.flatten(1))
    products = inner(left, right)
    if not full:
        return products
    return products.view(len(a), a.shape[1], len(b), b.shape[1]).transpose(1, 2).contiguous()
