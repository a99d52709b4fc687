"""Gradient flow by the Runge-Kutta-Chebyshev method: explicit, of second order, and stable over long steps.

The Jacobian of a gradient flow is symmetric, its stiff part minus the NTG. A step of s stages is stable up to
h * lambda_max = 0.65 s^2, so a stiff flow costs about sqrt(h * lambda_max) gradients a step where an ordinary
Runge-Kutta method needs h * lambda_max of them.

Source: B. P. Sommeijer, L. F. Shampine, J. G. Verwer, "RKC: an explicit solver for parabolic PDEs", J. Comput. Appl.
Math. 88 (1998): the scheme (2.1)-(2.6), its error estimate (2.8) and its dense output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.flow.system import System, largest_eigenvalue

__all__ = ["Effort", "integrate"]

_STAGES = 250  # at most, in one step
_SAFETY = 1.1  # on the largest eigenvalue, which the power method approaches from below
_GROWTH = 3.0  # at most, from one step to the next
_REFRESH = 10  # steps after which the largest eigenvalue is measured again


@dataclass
class Effort:
    """What a solver has spent: accepted and rejected steps, gradients, outputs alone, and products with the NTG."""

    steps: int = 0
    rejected: int = 0
    gradients: int = 0
    forwards: int = 0
    products: int = 0


def integrate(system: System, times: Sequence[float], rtol: float, effort: Effort) -> Iterator[tuple[float, Tensor]]:
    """Give the displacement at each of ``times``, increasing; the tensor is overwritten afterwards.

    Args:
        system: the networks.
        times: in units of the flow of L = 1/2 |y - f|^2.
        rtol: error allowed a step, in the outputs, relative to the initial residual of each network; never less than
            what rounding does to outputs of the targets' size.
        effort: counts what is spent.

    Raises:
        InputError: if the flow leaves the range of its numbers.
    """
    stepper = _Stepper(system, rtol, effort)
    shown = torch.empty_like(stepper.state)
    for time in times:
        while stepper.time < time:
            stepper.advance(times[-1])
        yield time, stepper.at(time, shown)


class _Stepper:
    """The state of one integration, and its buffers."""

    def __init__(self, system: System, rtol: float, effort: Effort) -> None:
        self._system, self._rtol, self._effort = system, rtol, effort
        self.time, self.before = 0.0, 0.0
        self.state = system.start()
        self._old, self._velocity, self._old_velocity = (torch.empty_like(self.state) for _ in range(3))
        self._work = [torch.empty_like(self.state) for _ in range(4)]
        number = torch.finfo(self.state.dtype)
        self._rounding = 100 * number.eps * system.targets.norm(dim=1)
        self._size = system.velocity(self.state, self._velocity).norm(dim=1)
        self._scale = torch.maximum(self._size, self._rounding / rtol).clamp_min(number.tiny)
        effort.gradients += 1
        self._vector: Tensor | None = None
        self._measure()
        self._step = 0.1 / self._stiffness
        self._age = 0

    def advance(self, end: float) -> None:
        """Take one accepted step, not beyond ``end``; where the residual is lost in rounding, the flow has ended."""
        if bool((self._size <= self._rounding).all()):
            self._old.copy_(self.state)
            self._velocity.zero_()
            self._old_velocity.zero_()
            self.before, self.time = self.time, end
            return
        most = _GROWTH
        while True:
            h = min(self._step, end - self.time, 0.65 * (_STAGES**2 - 1) / self._stiffness)
            if end - self.time - h < 1e-10 * end:
                h = end - self.time
            error = self._try(h)
            if not math.isfinite(error) and h * self._stiffness < 1e-6:
                raise self._out_of_range()
            change = 0.8 * error ** (-1 / 3) if error > 0 else _GROWTH
            self._step = h * (min(most, max(0.1, change)) if math.isfinite(error) else 0.1)
            if error <= 1:
                break
            most = 1.0  # a step that follows a rejected one does not grow
            self._effort.rejected += 1
            if error > 100 and self._age:
                self._measure()
        self.before, self.time = self.time, end if h == end - self.time else self.time + h
        self._effort.steps += 1
        self._age += 1
        if self._age >= _REFRESH and self.time < end:
            self._measure()

    def at(self, time: float, out: Tensor) -> Tensor:
        """The displacement within the last step, by the cubic through both ends and their velocities."""
        if time >= self.time:
            return out.copy_(self.state)
        h = self.time - self.before
        u = (time - self.before) / h
        torch.mul(self._old, (1 - u) ** 2 * (1 + 2 * u), out=out)
        out.add_(self._old_velocity, alpha=h * u * (1 - u) ** 2)
        out.add_(self.state, alpha=u * u * (3 - 2 * u))
        return out.add_(self._velocity, alpha=-h * u * u * (1 - u))

    def _measure(self) -> None:
        value, self._vector, products = largest_eigenvalue(self._system, self.state, self._vector, tolerance=0.02)
        self._effort.products += products
        if not value.isfinite().all():
            raise self._out_of_range()
        self._stiffness = max(_SAFETY * float(value.max()), torch.finfo(torch.float32).tiny)
        self._age = 0

    def _try(self, h: float) -> float:
        """Make a step of length h; keep it if its error, relative to what is allowed, is at most 1."""
        stages = max(2, 1 + math.isqrt(int(1.54 * h * self._stiffness + 1)))
        self._displace(h, stages)
        moved, spare, trial, velocity = self._work
        residual = self._system.velocity(torch.add(self.state, moved, out=trial), velocity)
        self._effort.gradients += stages
        self._effort.forwards += 1
        torch.add(velocity, self._velocity, out=spare).mul_(0.4 * h).add_(moved, alpha=-0.8)
        off = self._system.residual(spare.add_(trial)) - residual
        error = float((off.norm(dim=1) / self._scale).max()) / self._rtol
        if error <= 1:
            self._old, self.state, trial = self.state, trial, self._old
            self._old_velocity, self._velocity, velocity = self._velocity, velocity, self._old_velocity
            self._work = [moved, spare, trial, velocity]
            self._size = residual.norm(dim=1)
        return error

    def _out_of_range(self) -> InputError:
        return InputError(
            f"X, y: the flow leaves the range of {self.state.dtype} at time {self.time:g}; allowed are smaller numbers"
        )

    def _displace(self, h: float, stages: int) -> None:
        """Leave in the first work buffer how far a step of length h leads."""
        now, last, trial, velocity = self._work
        table = _coefficients(stages)
        torch.mul(self._velocity, table[0].mine * h, out=now)
        last.zero_()
        for stage in table[1:]:
            self._system.velocity(torch.add(self.state, now, out=trial), velocity)
            last.mul_(stage.nu).add_(now, alpha=stage.mu)
            last.add_(velocity, alpha=stage.mine * h).add_(self._velocity, alpha=stage.first * h)
            now, last = last, now
        self._work = [now, last, trial, velocity]


@dataclass(frozen=True)
class _Stage:
    """Y_j = (1 - mu - nu) Y_0 + mu Y_{j-1} + nu Y_{j-2} + h (mine F_{j-1} + first F_0)."""

    mu: float
    nu: float
    mine: float
    first: float


@functools.cache
def _coefficients(stages: int) -> tuple[_Stage, ...]:
    """The scheme's coefficients: shifted and scaled Chebyshev polynomials, damped by 2/13."""
    w0 = 1 + (2 / 13) / stages**2
    t, dt, ddt = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for _ in range(2, stages + 1):
        ddt.append(2 * w0 * ddt[-1] - ddt[-2] + 4 * dt[-1])
        dt.append(2 * w0 * dt[-1] - dt[-2] + 2 * t[-1])
        t.append(2 * w0 * t[-1] - t[-2])
    w1 = dt[stages] / ddt[stages]
    b = [ddt[j] / dt[j] ** 2 for j in range(2, stages + 1)]
    b = [b[0], b[0], *b]
    table = [_Stage(0.0, 0.0, b[1] * w1, 0.0)]
    for j in range(2, stages + 1):
        mine = 2 * b[j] * w1 / b[j - 1]
        table.append(_Stage(2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], mine, -(1 - b[j - 1] * t[j - 1]) * mine))
    return tuple(table)
