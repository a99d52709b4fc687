"""NTK-vector products: a reverse pass and a forward-mode pass for each column, no gradient ever kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from widthwise._forward_mode import forward_mode
from widthwise.kernels.empirical.jacobian import Params, outputs_of
from widthwise.kernels.empirical.subject import Subject

__all__ = ["NTKVectorProducts"]

_COLUMNS = 64  # tangents carried at a time


@dataclass(frozen=True)
class NTKVectorProducts:
    """J(x1) J(x2)^T e for every output e of every example of x2.

    Attributes:
        subject: the network.
    """

    subject: Subject
    name: ClassVar[str] = "products"

    @property
    def row_size(self) -> int:
        """Numbers held for an example."""
        return _COLUMNS * sum(p.numel() for p in self.subject.params.values())

    def prepare(self, x: Tensor) -> Tensor:
        """The examples themselves."""
        return x

    def kernel(self, first: Tensor, second: Tensor, full: bool) -> Tensor:
        """The kernel of two blocks, ``(b1, b2, k, k)``, or summed over equal outputs ``(b1, b2)``."""
        outputs, k = outputs_of(self.subject), self.subject.outputs
        params = {name: p.detach() for name, p in self.subject.params.items()}

        def column(one: Tensor, e: Tensor) -> Tensor:
            pull = vjp(lambda p: outputs(p, one[None])[0], params)[1]
            tangent = self._masked(pull(e)[0])
            moved: Tensor = jvp(lambda p: outputs(p, first), (params,), (tangent,))[1]
            return moved

        unit = torch.eye(k, dtype=next(iter(params.values())).dtype, device=second.device)
        with forward_mode():
            columns = vmap(column, chunk_size=_COLUMNS)(second.repeat_interleave(k, 0), unit.repeat(len(second), 1))
        kernel = columns.view(len(second), k, len(first), k).permute(2, 0, 3, 1)
        return kernel.contiguous() if full else kernel.diagonal(dim1=2, dim2=3).sum(-1)

    def _masked(self, gradient: Params) -> Params:
        found = dict(gradient)
        for name, live in self.subject.live.items():
            keep = torch.zeros(found[name].numel(), dtype=found[name].dtype, device=live.device)
            keep[live] = 1
            found[name] = found[name] * keep.view_as(found[name])
        return found
