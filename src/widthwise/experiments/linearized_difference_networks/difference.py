"""Figures 1 to 3: linearized difference networks beside ordinary ones, and what becomes of scaled targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure

from widthwise.activations import Activation, get
from widthwise.activations.base import affine
from widthwise.experiments.common import at, canvas, path_only, spread_out
from widthwise.experiments.linearized_difference_networks.shallow import (
    Problem,
    descend,
    limit_prediction,
    linearized_prediction,
    start,
    zeros_and_ones,
)
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.report.style import LIGHT

__all__ = ["fig1", "fig2", "fig3", "start_less"]

_RATE = 0.01
_SCALES = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class _Part:
    """One initialisation, and all that its numbers depend on."""

    figure: str
    data: str
    each: int
    activation: str
    width: int
    steps: int
    seed: int
    scales: tuple[float, ...]
    vanilla: bool = True


def fig1(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Error |u - u_IEIN| / |y| against the width at several target scales, erf(2x)."""
    return _against_width("fig1", "erf2", scale, data, seed, seeds)


def fig2(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """The same for ReLU."""
    return _against_width("fig2", "relu", scale, data, seed, seeds)


def fig3(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Difference networks trained on targets times eps, in single precision, against eps."""
    each, width, steps = at(scale, 5, 50, 50), at(scale, 30, 316, 1000), at(scale, 50, 10_000, 10_000)
    eps = tuple(10.0**-k for k in at(scale, range(0, 9, 4), range(9), range(9)))
    parts = [
        _Part("fig3", _data(scale, data), each, name, width, steps, s, eps)
        for name in ("erf2", "relu")
        for s in range(seed, seed + (seeds or at(scale, 1, 3, 3)))
    ]
    rows: list[Row] = []
    for part, found in zip(parts, in_parts("scaled targets", parts, _scaled), strict=True):
        key = {"activation": part.activation, "width": width, "seed": part.seed}
        rows += [
            {**key, "eps": e, "error": error, "linearized": found["linearized"]}
            for e, error in zip(eps, found["errors"], strict=True)
        ]
    return Outcome("fig3", scale, _settings(parts), rows, _draw_scaled(rows), _notes_scaled(rows))


def _against_width(figure: str, name: str, scale: str, data: Any, seed: int, seeds: int | None) -> Outcome:
    each, steps = at(scale, 5, 50, 50), at(scale, 50, 10_000, 10_000)
    widths = at(scale, (10, 30), (10, 32, 100, 316, 1000), (10, 32, 100, 316, 1000, 3162, 10_000))
    beyond = at(scale, (100,), (3162, 10_000), (31_623, 100_000))  # widths of the linearized network alone
    parts = [
        _Part(figure, _data(scale, data), each, name, width, steps, s, _SCALES, width in widths)
        for s in range(seed, seed + (seeds or at(scale, 1, 3, 5)))
        for width in (*widths, *beyond)
    ]
    rows: list[Row] = []
    for part, found in zip(parts, in_parts("networks", parts, _pair), strict=True):
        key = {"width": part.width, "seed": part.seed}
        rows += [
            {**key, "scale": s, "vanilla": error, "linearized": found["linearized"]}
            for s, error in zip(_SCALES, found["vanilla"], strict=True)
        ]
    return Outcome(figure, scale, _settings(parts), rows, _draw(rows, name), _notes(rows))


def _pair(part: _Part) -> dict[str, Any]:
    """Both networks from one initialisation."""
    problem, phi, limit = _problem(part)
    first = start(problem, part.width, part.seed)
    linear = linearized_prediction(problem, first, phi, _RATE, part.steps)
    found = {"linearized": _error(linear, limit, problem), "vanilla": [None] * len(part.scales)}
    if part.vanilla:
        scales = torch.tensor(part.scales, dtype=torch.float64)
        outputs, _ = descend(problem, first, phi, scales, _RATE, part.steps)
        found["vanilla"] = [_error(u.double() / s, limit, problem) for u, s in zip(outputs, scales, strict=True)]
    return found


def _scaled(part: _Part) -> dict[str, Any]:
    """The difference network at every eps, its distance from the linearized difference network."""
    problem, phi, _ = _problem(part)
    first = start(problem, part.width, part.seed)
    linear = linearized_prediction(problem, first, phi, _RATE, part.steps)
    difference = start_less(problem, part, phi)
    return {
        "errors": [_error(u, linear, problem) for u in difference],
        "linearized": _error(linear, limit_prediction(problem, phi), problem),
    }


def start_less(problem: Problem, part: _Part, phi: Activation) -> list[torch.Tensor]:
    """(u - u0) / eps on the test inputs; training is on eps y + u0, the difference network's targets times eps."""
    first = start(problem, part.width, part.seed)
    x, test, a = problem.x.float(), problem.test.float(), first.signs.float()
    eps = torch.tensor(part.scales)
    w = first.weights.float().expand(len(eps), -1, -1).clone()
    before, before_test = a @ phi(w[0] @ x.mT), a @ phi(w[0] @ test.mT)
    targets = eps[:, None] * problem.y.float()
    for _ in range(part.steps):
        z = w @ x.mT
        residual = targets - (a @ phi(z) - before)
        push = phi.derivative(z).mul_(a[:, None]).mul_(residual[:, None, :])
        w = torch.baddbmm(w, push, x.expand(len(eps), -1, -1), alpha=_RATE)
    return [((a @ phi(each @ test.mT) - before_test) / e).double() for each, e in zip(w, eps, strict=True)]


def _problem(part: _Part) -> tuple[Problem, Activation, torch.Tensor]:
    problem = zeros_and_ones(part.data, part.each)
    phi = affine(get("erf"), inner=2.0) if part.activation == "erf2" else get(part.activation)
    return problem, phi, limit_prediction(problem, phi)


def _error(u: torch.Tensor, of: torch.Tensor, problem: Problem) -> float:
    return float((u - of).norm() / problem.y.norm())


def _data(scale: str, data: Any) -> str:
    return path_only(data) or at(scale, "digits", "mnist", "mnist")


def _settings(parts: Sequence[_Part]) -> dict[str, Any]:
    part = parts[0]
    return {
        "activations": sorted({p.activation for p in parts}),
        "train": 2 * part.each,
        "test": 2 * part.each,
        "steps": part.steps,
        "rate": _RATE,
        "widths": sorted({p.width for p in parts}),
        "scales": part.scales,
        "seeds": sorted({p.seed for p in parts}),
    }


def _mean(rows: Sequence[Row], key: str, **where: Any) -> float:
    found = [row[key] for row in rows if all(row[k] == v for k, v in where.items()) and row[key] is not None]
    return math.fsum(found) / len(found) if found else math.nan


def _notes(rows: list[Row]) -> list[str]:
    pairs = [row for row in rows if row["vanilla"] is not None]
    below = sum(row["linearized"] < row["vanilla"] for row in pairs)
    notes = [f"The linearized difference network is nearer to the limit in {below} of {len(pairs)} runs."]
    notes.append("Its error does not depend on the scale of the targets: it is linear in them.")
    for width in sorted({row["width"] for row in rows}):
        numbers = [f"{s:g}: {_mean(rows, 'vanilla', width=width, scale=s):.3g}" for s in spread_out(rows, "scale")]
        shown = ", ".join(numbers) if _mean(rows, "vanilla", width=width) > 0 else "not run"
        linear = _mean(rows, "linearized", width=width)
        notes.append(f"width {width}: linearized {linear:.3g}; ordinary, by scale: {shown}")
    return notes


def _notes_scaled(rows: list[Row]) -> list[str]:
    notes = []
    for name in spread_out(rows, "activation"):
        values = {e: _mean(rows, "error", activation=name, eps=e) for e in spread_out(rows, "eps")}
        best = min(values, key=lambda e: values[e])
        text = ", ".join(f"{e:.0e}: {v:.2g}" for e, v in values.items())
        notes.append(f"{name}: distance from J dtheta by eps {text}; least at eps = {best:.0e}, rounding below it")
    return notes


def _draw(rows: list[Row], name: str) -> Figure:
    label = {"erf2": "erf(2x)", "relu": "ReLU"}[name]
    figure, (panel,) = canvas([f"{label}: distance from the infinite ensemble"], width=5.0, height=3.6)
    widths = sorted({row["width"] for row in rows})
    for i, s in enumerate(spread_out(rows, "scale")):
        _band(panel, rows, widths, "vanilla", LIGHT[f"series-{i + 1}"], f"ordinary, targets x {s:g}", scale=s)
    _band(panel, rows, widths, "linearized", LIGHT["series-0"], "linearized difference", scale=1.0)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("width")
    panel.set_ylabel("|u − u limit| / |y| on the test set")
    panel.legend(frameon=False, fontsize=7)
    return figure


def _band(panel: Any, rows: list[Row], xs: Sequence[float], key: str, colour: str, label: str, **where: Any) -> None:
    """Mean over seeds, and the range."""
    axis = "width" if "scale" in where else "eps"
    kept = [x for x in xs if not math.isnan(_mean(rows, key, **{axis: x}, **where))]
    found = [[r[key] for r in rows if r[axis] == x and all(r[k] == v for k, v in where.items())] for x in kept]
    panel.plot(kept, [math.fsum(f) / len(f) for f in found], "o-", ms=3, color=colour, label=label)
    panel.fill_between(kept, [min(f) for f in found], [max(f) for f in found], color=colour, alpha=0.15, lw=0)


def _draw_scaled(rows: list[Row]) -> Figure:
    names = spread_out(rows, "activation")
    figure, panels = canvas([{"erf2": "erf(2x)", "relu": "ReLU"}[n] for n in names], width=4.2, height=3.4)
    for panel, name in zip(panels, names, strict=True):
        eps = spread_out(rows, "eps")
        _band(panel, rows, eps, "error", LIGHT["series-1"], "scaled targets, from J dθ", activation=name)
        level = _mean(rows, "linearized", activation=name)
        panel.axhline(level, color=LIGHT["series-0"], ls=":", label="J dθ, from the infinite ensemble")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("eps")
    panels[0].set_ylabel("distance / |y| on the test set")
    panels[0].legend(frameon=False, fontsize=7)
    return figure
