"""Past the paper: more vectors than a simplex has, and other activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from widthwise import duals
from widthwise.compression import (
    etf_objective,
    full_objective,
    gram,
    lbfgs,
    limit_energy,
    limit_objective,
    objective_bound,
    simplex_is_optimal,
)
from widthwise.compression.linalg import pseudo_solve
from widthwise.experiments.common import at, canvas, seeded
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.two_layer_compression.common import COLOURS, random_target, unit

__all__ = ["activations", "configurations"]

_OTHERS = ("leaky_relu(0.1)", "gelu")
_SAME = 1e-8  # relative difference below which two values of R are one
_COSINE = 1e-3  # below which two cosines are one


def configurations(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """The best M > d + 1 vectors for the limit objective: their value, weights, cosines and symmetry.

    Args:
        scale: ReLU with d = 2, 3, 4, 5 and M to 12 at ``"small"``, two other activations with d = 3.
        seed: of the starts.
    """
    plan = at(
        scale,
        {2: range(3, 6)},
        {2: range(3, 13), 3: range(4, 11), 4: range(5, 13), 5: range(6, 13)},
        {2: range(3, 21), 3: range(4, 31), 4: range(5, 31), 5: range(6, 31), 8: range(9, 31)},
    )
    starts, iterations = at(scale, 8, 1024, 4096), at(scale, 60, 100, 500)
    cases = [("relu", d, M) for d, sizes in plan.items() for M in sizes]
    cases += [(name, 3, M) for name in at(scale, (), _OTHERS, _OTHERS) for M in range(5, 9)]
    searches = [
        _Search(name, d, M, max(8, starts // 4 ** (d - 2)) if name == "relu" else 64, iterations, seed + 100 * d + M)
        for name, d, M in cases  # the fewer dimensions, the more dead ends
    ]
    found = in_parts("configurations", searches, _search)
    rows: list[Row] = [one["row"] for one in found]
    pictures = {one["row"]["M"]: torch.tensor(one["points"]) for one in found if one["row"]["d"] == 2}
    settings = {"iterations": iterations, "seed": seed}
    return Outcome("configurations", scale, settings, rows, _draw(rows, pictures), _notes(rows))


@dataclass(frozen=True)
class _Search:
    """One search for the best vectors, and all that what it finds depends on."""

    activation: str
    d: int
    M: int
    starts: int
    iterations: int
    seed: int


def _search(wanted: _Search) -> dict[str, Any]:
    start = unit(wanted.starts, wanted.M, wanted.d, source=seeded(wanted.seed))
    found = lbfgs(limit_energy(wanted.activation), start, iterations=wanted.iterations, tolerance=1e-8)
    row: dict[str, Any] = {"activation": wanted.activation, "d": wanted.d, "M": wanted.M, "R": -found.value}
    row |= {"starts": wanted.starts, "hits": int((found.values[-1] < found.value * (1 - _SAME)).sum())}
    return {"row": row | _describe(found.best, wanted.activation), "points": found.best.tolist()}


def _describe(V: Tensor, activation: str) -> dict[str, Any]:
    """Numbers that tell configurations apart: what stays the same under rotation."""
    M, d = V.shape
    bound = objective_bound(M, d, activation)
    b = pseudo_solve(gram(V, activation=activation), torch.ones(M, 1, dtype=V.dtype)).flatten()
    b = b / b.sum()
    cosines = (V @ V.T)[*torch.triu_indices(M, M, 1)]
    frame = torch.linalg.eigvalsh(V.T @ (b.unsqueeze(1) * V))
    return {
        "bound": bound,
        "short_of_bound": 1 - float(limit_objective(V, activation)) / bound,
        "least_weight": float(b.min() * M),
        "greatest_weight": float(b.max() * M),
        "centre": float((b @ V).norm()),
        "gap_spread": _gap_spread(V) if d == 2 else None,
        "frame_spread": float(frame[-1] - frame[0]) * d,
        "distinct_cosines": _distinct(cosines),
        "distinct_lines": _distinct(cosines.abs()),
        "opposite_pairs": int((cosines < -1 + _COSINE).sum()),
        "equal_pairs": int((cosines > 1 - _COSINE).sum()),
        "least_cosine": float(cosines.min()),
        "greatest_cosine": float(cosines.max()),
    }


def _gap_spread(V: Tensor) -> float:
    """Degrees by which the angles between neighbouring lines in the plane differ."""
    angles = torch.atan2(V[:, 1], V[:, 0]).remainder(torch.pi).sort().values
    gaps = torch.cat([angles, angles[:1] + torch.pi]).diff()
    return math.degrees(gaps.max() - gaps.min())


def _distinct(values: Tensor) -> int:
    """How many values there are when those closer than a tolerance count as one."""
    return int((values.sort().values.diff() > _COSINE).sum()) + 1


def _notes(rows: list[Row]) -> list[str]:
    beyond = [row for row in rows if row["d"] + 1 < row["M"]]
    even = [row for row in beyond if row["greatest_weight"] - row["least_weight"] < _COSINE]
    return [
        f"beyond the simplex R falls short of its bound by {min(row['short_of_bound'] for row in beyond):.1e} to "
        f"{max(row['short_of_bound'] for row in beyond):.1e}",
        f"in {len(beyond)} configurations there are {sum(row['opposite_pairs'] for row in beyond)} opposite and "
        f"{sum(row['equal_pairs'] for row in beyond)} equal pairs; the least weight is "
        f"{min(row['least_weight'] for row in beyond):.3f} of the mean",
        f"all weights are equal in {len(even)} of them, where the centre is at most "
        f"{max((row['centre'] for row in even), default=math.nan):.1e} from 0: "
        + ", ".join(f"{row['M']} in R^{row['d']} ({row['activation']})" for row in even),
    ]


def activations(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Other activations: is the simplex best for the limit objective, and how much of a random target is lost?

    For each activation the best of many starts on the limit objective with M = 6 in R^8 beside R_ETF, and the part of
    a random target's power (N = 400, d = 20) that M neurons lose at best.

    Args:
        scale: M = 1 to 16 at ``"small"``.
        seed: of starts and targets.
    """
    names = at(scale, ("relu", "tanh"), _NAMES, (*_NAMES, "silu", "softplus", "elu", "sigmoid"))
    counts = at(scale, (1, 3), (1, 2, 4, 8, 16), (1, 2, 4, 8, 16, 32))
    draws, iterations = at(scale, 1, 2, 5), at(scale, 30, 80, 200)
    N, d = at(scale, 40, 400, 1000), at(scale, 6, 20, 50)
    trials = [_Trial(name, N, d, counts, draws, iterations, seed) for name in names]
    rows: list[Row] = [*in_parts("activations", trials, _tried)]
    settings = {"N": N, "d": d, "draws": draws, "iterations": iterations, "seed": seed, "limit_M": _M, "limit_d": _D}
    return Outcome("activations", scale, settings, rows, _draw_lost(rows, counts))


_NAMES = ("relu", "leaky_relu(0.1)", "gelu", "abs", "tanh", "erf")
_M, _D = 6, 8  # of the limit objective


@dataclass(frozen=True)
class _Trial:
    """One activation, and all that its row depends on."""

    activation: str
    N: int
    d: int
    counts: tuple[int, ...]
    draws: int
    iterations: int
    seed: int


def _tried(trial: _Trial) -> dict[str, Any]:
    name = trial.activation
    start = unit(8, _M, _D, source=seeded(trial.seed))
    found = lbfgs(limit_energy(name), start, iterations=trial.iterations, tolerance=1e-8)
    row: dict[str, Any] = {"activation": name, "g0": float(duals.g(name, 0.0)), "R": -found.value}
    row |= {"simplex": etf_objective(_M, name), "proved": simplex_is_optimal(_M, name)}
    row |= {f"lost_{M}": _lost(trial, M) for M in trial.counts}
    return row | {
        key: value for key, value in _describe(found.best, name).items() if key not in ("bound", "gap_spread")
    }


def _lost(trial: _Trial, M: int) -> float:
    """The part of a random target's power that M neurons lose at best, mean over targets."""
    lost = []
    for s in range(trial.seed, trial.seed + trial.draws):
        target = random_target(trial.N, trial.d, s, trial.activation)
        subsets = [target.W[torch.randperm(trial.N, generator=seeded(10 * s + k))[:M]] for k in range(4)]
        objective = full_objective(target)
        lost.append(lbfgs(objective, torch.stack(subsets), iterations=trial.iterations, tolerance=1e-6).value)
    return math.fsum(lost) / trial.draws


def _draw(rows: list[Row], pictures: dict[int, Tensor]) -> Figure:
    shown = [M for M in pictures if M <= 10]
    figure, panels = canvas(
        ["short of the bound, ReLU", *(f"d = 2, M = {M}" for M in shown)], columns=3, width=3, height=2.6
    )
    for colour, d in zip(COLOURS, dict.fromkeys(row["d"] for row in rows), strict=False):
        mine = [row for row in rows if row["d"] == d and row["activation"] == "relu"]
        panels[0].plot(
            [r["M"] for r in mine],
            [max(r["short_of_bound"], 1e-9) for r in mine],
            "o-",
            ms=3,
            color=colour,
            label=f"d = {d}",
        )
    panels[0].set_yscale("log")
    panels[0].set_xlabel("M")
    panels[0].legend(frameon=False, fontsize=7)
    for panel, M in zip(panels[1:], shown, strict=True):
        for x, y in pictures[M].tolist():
            panel.plot([0, x], [0, y], "-o", ms=3, color=COLOURS[0])
            panel.plot([0, -x], [0, -y], ":", lw=0.8, color=COLOURS[1])
        panel.set_aspect("equal")
        panel.axis("off")
    return figure


def _draw_lost(rows: list[Row], counts: tuple[int, ...]) -> Figure:
    figure, (panel,) = canvas(["part of a random target lost"], width=5, height=3.6)
    for i, row in enumerate(rows):
        style = "-" if i < len(COLOURS) else "--"
        colour = COLOURS[i % len(COLOURS)]
        panel.plot(counts, [row[f"lost_{m}"] for m in counts], f"o{style}", ms=3, color=colour, label=row["activation"])
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("M")
    panel.legend(frameon=False, fontsize=7)
    return figure
