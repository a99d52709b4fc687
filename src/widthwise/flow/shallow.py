"""The shallow network (2) as a system to integrate: its gradient written out, in buffers that are used again.

For a ReLU the derivative is a matrix of zeros and ones, so that dw_j/dt = sqrt(lambda_j) a_j / sqrt(d) *
sum_i phi'(Z_ij) r_i x_i costs two matrix products and three passes in place. Examples are taken in pieces whose
pre-activations stay in cache from the first of these to the last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from widthwise import activations
from widthwise.models.node_scaled import Shallow

__all__ = ["ShallowSystem", "runs_together"]

_CACHE = 2**21  # bytes of pre-activations worked on at a time on a CPU


def runs_together(model: Shallow, n: int) -> int:
    """How many networks to integrate as one batch: all on a GPU, on a CPU what its cache holds."""
    if model.weight.device.type != "cpu":
        return 2**31
    return max(1, _CACHE // (n * model.weight[:, :1].numel() * model.weight.element_size()))


class ShallowSystem:
    """R networks (2) of equal sizes and activation; a displacement is ``(R, d, m)``.

    Args:
        models: the networks; scalings and signs may differ.
        x: inputs of each, ``(R, n, d)``.
        y: targets of each, ``(R, n, k)``.
    """

    def __init__(self, models: Sequence[Shallow], x: Tensor, y: Tensor) -> None:
        self._models = models
        self._phi = activations.get(models[0].activation)
        self._relu = self._phi == activations.get("relu")
        self._origin = torch.stack([m.weight.detach().T for m in models]).contiguous()
        self._out = torch.stack([m.out_weight for m in models])
        self._lam = torch.stack([m.lam for m in models]).to(x.dtype)
        self._x = x / math.sqrt(x.shape[-1])
        self._y = y.contiguous()
        self._weight = torch.empty_like(self._origin)
        (runs, n), m = x.shape[:2], self._origin.shape[2]
        rows = n if runs > 1 or x.is_cuda else max(1, _CACHE // (m * x.element_size()))
        self._pieces = [slice(i, min(i + rows, n)) for i in range(0, n, rows)]
        self._z = x.new_empty(runs, min(rows, n), m)

    @property
    def targets(self) -> Tensor:
        """The y of each network, ``(R, N)``."""
        return self._y.flatten(1)

    def start(self) -> Tensor:
        """A new displacement of zeros."""
        return torch.zeros_like(self._origin)

    def velocity(self, state: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` with -grad L and return the residual."""
        residual = torch.empty_like(self._y)
        self._pull(state, out, None, residual)
        return residual.flatten(1)

    def residual(self, state: Tensor) -> Tensor:
        """The residual alone."""
        torch.add(self._origin, state, out=self._weight)
        parts = [self._y[:, rows] - self._outputs(self._pre_activations(rows)) for rows in self._pieces]
        return torch.cat(parts, 1).flatten(1)

    def curvature(self, state: Tensor, v: Tensor) -> Tensor:
        """NTG times ``v``."""
        pulled = torch.empty_like(state)
        self._pull(state, pulled, v.view_as(self._y), None)
        parts = []
        for rows in self._pieces:
            slope = self._slope(self._pre_activations(rows))
            parts.append(torch.bmm(slope.mul_(torch.bmm(self._x[:, rows], pulled)), self._out.mT))
        return torch.cat(parts, 1).flatten(1)

    def ntg(self, state: Tensor, points: int | None = None) -> Tensor:
        """NTG of the first output."""
        torch.add(self._origin, state, out=self._weight)
        x, root = self._x[:, :points], self._lam.sqrt().unsqueeze(1)
        parts = [self._slope(self._pre_activations(rows)) * root for rows in self._pieces_up_to(x.shape[1])]
        slope = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        kernel = (x @ x.mT) * (slope @ slope.mT)
        return (kernel + kernel.mT) / 2

    def movement(self, state: Tensor) -> Tensor:
        """Norm of the displacement by node, ``(R, m)``."""
        norms: Tensor = torch.linalg.vector_norm(state, dim=1)
        return norms

    def write_back(self, state: Tensor) -> None:
        """Move the parameters of the networks themselves."""
        with torch.no_grad():
            for model, moved in zip(self._models, state, strict=True):
                model.weight.add_(moved.T)

    def _pull(self, state: Tensor, out: Tensor, v: Tensor | None, residual: Tensor | None) -> None:
        """Fill ``out`` with J^T v, v being the residual, which is kept, if none is given."""
        torch.add(self._origin, state, out=self._weight)
        single = self._y.shape[2] == 1
        for rows in self._pieces:
            z = self._pre_activations(rows)
            if v is not None:
                part = v[:, rows]
            elif residual is not None:
                part = residual[:, rows]
                torch.sub(self._y[:, rows], self._outputs(z), out=part)
            slope, x = self._slope(z), self._x[:, rows]
            if single:
                x = x * part
            else:
                slope = torch.bmm(part, self._out).mul_(slope)
            out.baddbmm_(x.mT, slope, beta=1 if rows.start else 0)
        if single:
            out.mul_(self._out)

    def _pieces_up_to(self, n: int) -> list[slice]:
        return [slice(p.start, min(p.stop, n)) for p in self._pieces if p.start < n]

    def _pre_activations(self, rows: slice) -> Tensor:
        """Z of some examples, ``(R, rows, m)``; a ReLU's are clamped, which its value and slope alike begin with."""
        z = self._z[:, : rows.stop - rows.start]
        torch.bmm(self._x[:, rows], self._weight, out=z)
        return z.clamp_min_(0) if self._relu else z

    def _outputs(self, z: Tensor) -> Tensor:
        return torch.bmm(z if self._relu else self._phi(z), self._out.mT)

    def _slope(self, z: Tensor) -> Tensor:
        """The derivative at Z, in its place if it is a ReLU's."""
        return z.sign_() if self._relu else self._phi.derivative(z)
