"""The shallow network (2) as a system to integrate: its gradient written out, in buffers that are used again.

For a ReLU the derivative is a matrix of zeros and ones, so that dw_j/dt = sqrt(lambda_j) a_j / sqrt(d) *
sum_i phi'(Z_ij) r_i x_i costs two matrix products and three passes in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from widthwise import activations
from widthwise.models.node_scaled import Shallow

__all__ = ["ShallowSystem", "runs_together"]

_CACHE = 2**19  # bytes of pre-activations worked on at a time on a CPU: what a core's own cache holds


def runs_together(model: Shallow, n: int) -> int:
    """How many networks to integrate as one batch: all on a GPU, on a CPU what its cache holds."""
    if model.weight.device.type != "cpu":
        return 2**31
    return max(1, _CACHE // (n * model.weight[:, :1].numel() * model.weight.element_size()))


class ShallowSystem:
    """R networks (2) of equal sizes and activation.

    Args:
        models: the networks; scalings and signs may differ.
        x: inputs of each, ``(R, n, d)``.
        y: targets of each, ``(R, n, k)``.
    """

    def __init__(self, models: Sequence[Shallow], x: Tensor, y: Tensor) -> None:
        self._models = models
        self._phi = activations.get(models[0].activation)
        self._relu = self._phi == activations.get("relu")
        self._origin = torch.stack([m.weight.detach() for m in models])
        self._out = torch.stack([m.out_weight for m in models])
        self._lam = torch.stack([m.lam for m in models])
        self._x = x / math.sqrt(x.shape[-1])
        self._xt = self._x.mT.contiguous()
        self._y = y.mT.contiguous()
        self._weight = torch.empty_like(self._origin)
        self._slope = self._origin.new_empty(*self._origin.shape[:2], x.shape[1])

    def start(self) -> Tensor:
        """A new displacement of zeros."""
        return torch.zeros_like(self._origin)

    def velocity(self, state: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` with -grad L and return the residual."""
        residual = self._forward(state)
        weighted = self._x * residual.mT if residual.shape[1] == 1 else None
        for nodes in self._chunks():
            slope, signed = self._slope[:, nodes], self._out[:, :, nodes].mT
            if weighted is not None:
                torch.bmm(slope, weighted, out=out[:, nodes]).mul_(signed)
            else:
                torch.bmm(torch.bmm(signed, residual).mul_(slope), self._x, out=out[:, nodes])
        return residual.flatten(1)

    def residual(self, state: Tensor) -> Tensor:
        """The residual alone."""
        return self._forward(state, slopes=False).flatten(1)

    def curvature(self, state: Tensor, v: Tensor) -> Tensor:
        """NTG times ``v``."""
        self._forward(state)
        v = v.view_as(self._y)
        total = torch.zeros_like(self._y)
        for nodes in self._chunks():
            slope, out = self._slope[:, nodes], self._out[:, :, nodes]
            pulled = torch.bmm(torch.bmm(out.mT, v).mul_(slope), self._x)
            total.baddbmm_(out, torch.bmm(pulled, self._xt).mul_(slope))
        return total.flatten(1)

    def ntg(self, state: Tensor, points: int | None = None) -> Tensor:
        """NTG of the first output."""
        x = self._x[:, :points]
        slope = self._phi.derivative((self._origin + state) @ x.mT)
        kernel = (x @ x.mT) * (slope.mT @ (slope * self._lam.to(slope.dtype).unsqueeze(-1)))
        return (kernel + kernel.mT) / 2

    def movement(self, state: Tensor) -> Tensor:
        """Norm of the displacement by node, ``(R, m)``."""
        norms: Tensor = torch.linalg.vector_norm(state, dim=2)
        return norms

    def write_back(self, state: Tensor) -> None:
        """Move the parameters of the networks themselves."""
        with torch.no_grad():
            for model, moved in zip(self._models, state, strict=True):
                model.weight.add_(moved)

    def _forward(self, state: Tensor, slopes: bool = True) -> Tensor:
        """Return the residual ``(R, k, n)`` and, unless told not to, fill the slopes phi'(Z), ``(R, m, n)``."""
        torch.add(self._origin, state, out=self._weight)
        residual = self._y.clone()
        for nodes in self._chunks():
            z, out = self._slope[:, nodes], self._out[:, :, nodes]
            torch.bmm(self._weight[:, nodes], self._xt, out=z)
            if self._relu:
                residual.baddbmm_(out, z.clamp_min_(0), alpha=-1)
            else:
                residual.baddbmm_(out, self._phi(z), alpha=-1)
            if slopes:
                z.sign_() if self._relu else z.copy_(self._phi.derivative(z))
        return residual

    def _chunks(self) -> Iterator[slice]:
        """The nodes in pieces that stay in cache; in one piece where several networks run together."""
        runs, m, n = self._slope.shape
        size = m if runs > 1 or self._slope.is_cuda else max(16, _CACHE // (n * self._slope.element_size()))
        for start in range(0, m, size):
            yield slice(start, min(start + size, m))
