"""``train``: fit networks by gradient flow or gradient descent, many at once, and record what happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, check_choice, check_integer, check_number, check_type
from widthwise.flow.checks import Data, check_models, check_pairs
from widthwise.flow.descent import check_stable, descend
from widthwise.flow.observe import Observer, Snapshot, observers_named
from widthwise.flow.ode import Effort, integrate
from widthwise.flow.shallow import ShallowSystem, runs_together
from widthwise.flow.system import ModuleSystem, System, largest_eigenvalue
from widthwise.models.node_scaled import Shallow

__all__ = ["Trajectory", "train"]

_METHODS = ("gd", "ode")
_TIMES = 31  # recorded unless the caller chooses


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What was recorded, and what it cost.

    Attributes:
        times: when, ``(T,)`` float64 in units of the flow; a step of gradient descent takes ``lr``.
        records: observer's name -> ``(R, T, ...)``, or ``(T, ...)`` where one network was given, not a sequence.
        effort: steps and gradients of all batches together.
        lr: the step of gradient descent, ``None`` for a flow.
    """

    times: Tensor
    records: Mapping[str, Tensor]
    effort: Effort
    lr: float | None

    def __getitem__(self, name: str) -> Tensor:
        """The record of an observer."""
        return self.records[check_choice("record", name, self.records)]


def train(
    model: nn.Module | Sequence[nn.Module],
    X: Data,
    y: Data,
    t_end: float | None = None,
    *,
    steps: int | None = None,
    lr: float | None = None,
    method: str = "ode",
    record: Sequence[str] | Mapping[str, Observer] = ("loss",),
    at: Sequence[float] | None = None,
    points: int | None = None,
    rtol: float = 1e-3,
) -> Trajectory:
    """Minimise L = 1/2 sum_i (y_i - f(x_i))^2 from where the networks are, and leave them where they end.

    Networks given as a sequence, such as several seeds of several scalings, are trained together: on a GPU as one
    batch, on a CPU in batches that fit its cache. The shallow network (2) has its gradient written out; any other
    module is differentiated.

    Args:
        model: a network, or a sequence of networks of one architecture.
        X: inputs ``(n, ...)`` shared by all networks, or a sequence with inputs for each; the networks' dtype.
        y: targets ``(n,)`` or ``(n, k)``, shared or a sequence likewise.
        t_end: time at which to end, in units of the flow dw/dt = -grad L.
        steps: instead of ``t_end``, a number of gradient steps of size ``lr``.
        lr: step of gradient descent for L, a *sum* over examples: one for the mean squared error is ``n/2`` times as
            large. If omitted, 1/lambda_max of the NTG at the start.
        method: ``"ode"`` follows the flow itself with steps of its own choice; ``"gd"`` is plain gradient descent.
        record: names out of :data:`~widthwise.flow.OBSERVERS`, or a mapping from names to functions of a
            :class:`~widthwise.flow.Snapshot`.
        at: times to record at, within [0, t_end], in any order; with ``"gd"`` rounded to whole steps. If omitted,
            0 and 30 times spaced geometrically over three decades up to the end.
        points: on how many of the first examples the NTG is recorded; all if omitted.
        rtol: for ``"ode"``: the error allowed a step, in outputs, relative to the initial residual.

    Returns:
        What was recorded.

    Raises:
        InputError: for sizes, numbers or data that are not allowed; for an ``lr`` of 2/lambda_max or more, found at the
            start or later but before the run diverges, with the largest stable step in the message.
        InputTypeError: for wrong types.

    Warns:
        DegenerateWarning: if an input occurs twice.

    Source: the flow is (5) and (6) of the paper on asymmetrical node scaling.

    Example:
        >>> from widthwise.models import node_scaled
        >>> X = torch.nn.functional.normalize(torch.randn(10, 5))
        >>> run = train(node_scaled(5, width=200), X, X.sum(1), t_end=500.0)
        >>> bool(run["loss"][-1] < 0.1 * run["loss"][0])
        True
    """
    check_choice("method", method, _METHODS)
    check_number("rtol", rtol, 0, 1, low_open=True, high_open=True)
    observers = observers_named(record)
    models = check_models(model)
    x, target = check_pairs(models, X, y)
    if points is not None:
        check_integer("points", points, 1, x.shape[1])
    systems = _systems(models, x, target)
    effort = Effort()
    t_end, lr = _duration(systems, t_end, steps, lr, method, effort)
    times = _times(t_end, at, lr if method == "gd" else None)
    found = [_run(s, times, t_end, lr if method == "gd" else None, rtol, observers, points, effort) for s in systems]
    for system, (_, state) in zip(systems, found, strict=True):
        system.write_back(state)
    records = {name: torch.cat([records[name] for records, _ in found]) for name in observers}
    if isinstance(model, nn.Module):
        records = {name: r[0] for name, r in records.items()}
    return Trajectory(torch.tensor(times, dtype=torch.float64), records, effort, lr if method == "gd" else None)


def _systems(models: list[nn.Module], x: Tensor, y: Tensor) -> list[System]:
    """The networks in batches that are integrated together."""
    if not all(type(m) is Shallow and m.weight.requires_grad for m in models):
        return [ModuleSystem(models, x, y)]
    shallow = [m for m in models if isinstance(m, Shallow)]
    x = x.flatten(2)
    size = runs_together(shallow[0], x.shape[1])
    return [ShallowSystem(shallow[i : i + size], x[i : i + size], y[i : i + size]) for i in range(0, len(models), size)]


def _duration(
    systems: list[System], t_end: float | None, steps: int | None, lr: float | None, method: str, effort: Effort
) -> tuple[float, float | None]:
    """The end, and the step of gradient descent where there is one; a step that is too large is refused at once."""
    if (t_end is None) == (steps is None):
        raise InputError(f"t_end, steps: got {t_end} and {steps}, allowed is exactly one of them")
    if lr is not None:
        check_number("lr", lr, 0, low_open=True)
    elif method == "gd" or steps is not None:
        found = [largest_eigenvalue(system, system.start()) for system in systems]
        effort.products += sum(products for _, _, products in found)
        lr = 1 / max(float(value.max()) for value, _, _ in found)
    if method == "gd" and lr is not None:
        for system in systems:
            check_stable(system, system.start(), lr, 0, None, effort)
    if steps is not None and lr is not None:
        return check_integer("steps", steps, 1) * lr, lr
    t_end = check_number("t_end", t_end, 0, low_open=True)
    if method == "gd" and lr is not None:
        t_end = max(1, round(t_end / lr)) * lr
    return t_end, lr


def _times(t_end: float, at: Sequence[float] | None, lr: float | None) -> list[float]:
    if at is None:
        at = [0.0, *torch.logspace(-3, 0, _TIMES - 1, dtype=torch.float64).mul(t_end).tolist()]
        at[-1] = t_end
    times = sorted({check_number("at", float(time), 0, t_end * (1 + 1e-12)) for time in at})
    if not times:
        raise InputError("at: got no times, allowed is at least one")
    times = [min(time, t_end) for time in times]
    return times if lr is None else [step * lr for step in sorted({round(time / lr) for time in times})]


def _run(
    system: System,
    times: list[float],
    t_end: float,
    lr: float | None,
    rtol: float,
    observers: Mapping[str, Observer],
    points: int | None,
    effort: Effort,
) -> tuple[dict[str, Tensor], Tensor]:
    """Records ``(R, T, ...)`` and the final displacement of one batch."""
    begin = Snapshot(system, 0.0, system.start(), points)
    found: dict[str, list[Tensor]] = {name: [] for name in observers}
    state = begin.state
    for time, state in _solve(system, sorted({*times, t_end}), lr, rtol, effort):
        if time in times:
            snapshot = Snapshot(system, time, state, points, begin)
            for name, observer in observers.items():
                found[name].append(check_type(f"record[{name!r}]", observer(snapshot), Tensor))
    return {name: torch.stack(values, 1) for name, values in found.items()}, state


def _solve(
    system: System, times: list[float], lr: float | None, rtol: float, effort: Effort
) -> Iterator[tuple[float, Tensor]]:
    if lr is None:
        yield from integrate(system, times, rtol, effort)
        return
    for step, state in descend(system, [round(time / lr) for time in times], lr, effort):
        yield step * lr, state
