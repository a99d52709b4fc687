"""What a solver needs to know about the networks it trains, and that of any module by automatic differentiation.

The state of a flow is how far the parameters have moved, the *displacement*, starting at zero: in single precision
it keeps digits that the parameters themselves would lose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, stack_module_state, vjp, vmap

from widthwise.errors import InputError

__all__ = ["ModuleSystem", "System", "largest_eigenvalue"]


class System(Protocol):
    """R networks of one architecture and the data they are fitted to: targets y, outputs f, L = 1/2 |y - f|^2.

    A displacement has shape ``(R, ...)``, a residual y - f ``(R, N)`` for N targets a network.
    """

    @property
    def targets(self) -> Tensor:
        """The y of each network, ``(R, N)``."""
        ...

    def start(self) -> Tensor:
        """A new displacement of zeros."""
        ...

    def velocity(self, state: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` with -grad L and return the residual."""
        ...

    def residual(self, state: Tensor) -> Tensor:
        """The residual alone."""
        ...

    def curvature(self, state: Tensor, v: Tensor) -> Tensor:
        """NTG of all N targets times ``v``, both ``(R, N)``."""
        ...

    def ntg(self, state: Tensor, points: int | None = None) -> Tensor:
        """NTG of the first output on the first ``points`` examples (all if ``None``), ``(R, p, p)``."""
        ...

    def movement(self, state: Tensor) -> Tensor:
        """Norm of the displacement by part, ``(R, parts)``: by node in a shallow network, else by parameter."""
        ...

    def write_back(self, state: Tensor) -> None:
        """Move the parameters of the networks themselves."""
        ...


def largest_eigenvalue(
    system: System, state: Tensor, v: Tensor | None = None, *, tolerance: float = 1e-3, iterations: int = 100
) -> tuple[Tensor, Tensor, int]:
    """Largest eigenvalue of each network's NTG by the power method.

    Args:
        system: the networks.
        state: where.
        v: where to start, as returned by an earlier call; the residual if omitted.
        tolerance: relative change at which to stop.
        iterations: at most so many products.

    Returns:
        The eigenvalues ``(R,)``, the vectors ``(R, N)`` and the number of products.
    """
    if v is None:
        v = system.velocity(state, torch.empty_like(state))
        noise = torch.randn(v.shape[1], generator=torch.Generator().manual_seed(0)).to(v)
        v = v + 0.1 * v.norm(dim=1, keepdim=True) * noise / noise.norm() + torch.finfo(v.dtype).tiny
    value = torch.zeros(len(v), dtype=v.dtype, device=v.device)
    done = 0
    while done < iterations:
        done += 1
        v = v / v.norm(dim=1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
        product = system.curvature(state, v)
        before, value = value, (product * v).sum(1)
        v = product
        if ((value - before).abs() <= tolerance * value.abs()).all():
            break
    return value, v, done


class ModuleSystem:
    """Any modules of one architecture, their outputs ``(n, k)`` or ``(n,)`` differentiated by ``torch.func``.

    Args:
        models: the networks; those of their parameters that require gradients move.
        x: inputs of each, ``(R, n, ...)``.
        y: targets of each, ``(R, n, k)``.
    """

    def __init__(self, models: Sequence[nn.Module], x: Tensor, y: Tensor) -> None:
        self._models, self._x, self._y = models, x, y.flatten(1)
        trained = [{n: p for n, p in m.named_parameters() if p.requires_grad} for m in models]
        if not trained[0]:
            raise InputError("model: none of its parameters requires gradients, so there is nothing to train")
        self._shapes = {name: p.shape for name, p in trained[0].items()}
        everything, buffers = stack_module_state(list(models))
        self._fixed = {n: t.detach() for n, t in {**everything, **buffers}.items() if n not in self._shapes}
        self._origin = torch.cat([everything[n].detach().flatten(1) for n in self._shapes], 1)

    @property
    def targets(self) -> Tensor:
        """The y of each network, ``(R, N)``."""
        return self._y

    def start(self) -> Tensor:
        """A new displacement of zeros."""
        return torch.zeros_like(self._origin)

    def velocity(self, state: Tensor, out: Tensor) -> Tensor:
        """Fill ``out`` with -grad L and return the residual."""

        def one(theta: Tensor, fixed: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            f, pull = _vjp(lambda t: self._output(t, fixed, x), theta)
            return pull(y - f), y - f

        moved, residual = vmap(one)(self._origin + state, self._fixed, self._x, self._y)
        out.copy_(moved)
        return residual

    def residual(self, state: Tensor) -> Tensor:
        """The residual alone."""
        return self._y - vmap(self._output)(self._origin + state, self._fixed, self._x)

    def curvature(self, state: Tensor, v: Tensor) -> Tensor:
        """NTG times ``v``."""

        def one(theta: Tensor, fixed: dict[str, Tensor], x: Tensor, v: Tensor) -> Tensor:
            _, pull = _vjp(lambda t: self._output(t, fixed, x), theta)
            pulled, push = _vjp(pull, v)  # the transpose of v -> J^T v is u -> J u
            return push(pulled)

        return vmap(one)(self._origin + state, self._fixed, self._x, v)

    def ntg(self, state: Tensor, points: int | None = None) -> Tensor:
        """NTG of the first output."""
        outputs = self._y.shape[1] // self._x.shape[1]

        def one(theta: Tensor, fixed: dict[str, Tensor], x: Tensor) -> Tensor:
            rows: Tensor = jacrev(lambda t: self._output(t, fixed, x)[::outputs])(theta)
            return rows

        rows = vmap(one)(self._origin + state, self._fixed, self._x[:, :points])
        return rows @ rows.mT

    def movement(self, state: Tensor) -> Tensor:
        """Norm of the displacement by parameter, ``(R, parameters)``."""
        return torch.stack([part.norm(dim=1) for part in self._split(state)], 1)

    def write_back(self, state: Tensor) -> None:
        """Move the parameters of the networks themselves."""
        with torch.no_grad():
            for name, part in zip(self._shapes, self._split(state), strict=True):
                for model, moved in zip(self._models, part, strict=True):
                    model.get_parameter(name).add_(moved.view(self._shapes[name]))

    def _split(self, state: Tensor) -> tuple[Tensor, ...]:
        return torch.split(state, [shape.numel() for shape in self._shapes.values()], dim=-1)

    def _output(self, theta: Tensor, fixed: dict[str, Tensor], x: Tensor) -> Tensor:
        params = {n: t.view(s) for (n, s), t in zip(self._shapes.items(), self._split(theta), strict=True)}
        out: Tensor = functional_call(self._models[0], {**params, **fixed}, (x,)).flatten()
        return out


def _vjp(function: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The value, and the function v -> J^T v."""
    value, pull = vjp(function, theta)[:2]
    return value, lambda v: pull(v)[0]
