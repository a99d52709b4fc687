"""How near the limit is: Theorem 1's decay, and the simplex against the optimum of the full problem."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from widthwise.compression import (
    Target,
    best_orientation,
    full_objective,
    lbfgs,
    objective_bound,
    random_frames,
    simplex_etf,
)
from widthwise.compression.linalg import pseudo_solve
from widthwise.experiments.common import at, canvas, seeded
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.two_layer_compression.common import COLOURS, random_target, unit

__all__ = ["decay", "orientation"]

_M = 8
_MU = 1.0  # of the coefficients' distribution
_G0 = 1 / (2 * math.pi)


@dataclass(frozen=True)
class _Draw:
    """One random target, how many directions, steps of the descent: all that an experiment's numbers depend on."""

    experiment: str
    N: int
    d: int
    M: int
    seed: int
    iterations: int


def decay(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Theorem 1: abs(L - L_limit) against N at large d, and against d at large N, with fitted slopes.

    Four quantities: the largest abs(s - mu_a g(0)) over the whole sphere (20), abs(L - L_limit) at b = (29) for eight
    random directions and for a simplex of eight in a random rotation, and for that simplex once more with g(0) replaced
    by the mean of g(<v, w>) over w uniform on the sphere in R^d. mu_a is the distribution's.

    Args:
        scale: N to 16384 and d to 32 at ``"small"``.
        seed: of the first target.
    """
    sizes = at(scale, (32, 128), (64, 256, 1024, 4096, 16384), (64, 256, 1024, 4096, 16384, 65536))
    dimensions = at(scale, (8, 16), (8, 12, 16, 24, 32), (8, 16, 32, 64, 128))
    wide, many = at(scale, 32, 1000, 4000), at(scale, 512, 100_000, 4_000_000)
    draws = at(scale, {"N": 2, "d": 2}, {"N": 20, "d": 4}, {"N": 50, "d": 20})
    rows: list[Row] = []
    slopes: dict[tuple[str, str], tuple[float, float]] = {}
    for varied, pairs in (("N", [(N, wide) for N in sizes]), ("d", [(many, d) for d in dimensions])):
        seeds = range(seed, seed + draws[varied])
        found = [in_parts("targets", [_Draw("decay", N, d, _M, s, 15) for s in seeds], _gaps) for N, d in pairs]
        rows += [{"varied": varied, "N": N, "d": d} | _mean(gaps) for (N, d), gaps in zip(pairs, found, strict=True)]
        for key in _NAMES:
            values = np.array([[gap[key] for gap in gaps] for gaps in found])
            slopes[varied, key] = _slope(sizes if varied == "N" else dimensions, values)
    notes = [
        f"slope of {_NAMES[key]} against {varied}: {slope:.2f} +- {error:.2f}"
        for (varied, key), (slope, error) in slopes.items()
    ]
    settings = {"M": _M, "d_large": wide, "N_large": many, "draws_N": draws["N"], "draws_d": draws["d"], "seed": seed}
    return Outcome("decay", scale, settings, rows, _draw_decay(rows, slopes), notes)


_NAMES = {
    "sphere": "the largest |s - mu_a g(0)|",
    "random": "|L - L_limit|, random directions",
    "simplex": "|L - L_limit|, simplex",
    "corrected": "the same with g's mean over the sphere",
}


def _gaps(draw: _Draw) -> dict[str, float]:
    d, target = draw.d, random_target(draw.N, draw.d, draw.seed)
    source = seeded(1000 + draw.seed)
    directions = unit(_M, d, source=source)
    frame = simplex_etf(_M, _M - 1) @ random_frames(1, _M - 1, d, generator=source)[0]
    return {
        "sphere": _largest(target, draw.iterations),
        "random": _gap(target, directions, _G0),
        "simplex": _gap(target, frame, _G0),
        "corrected": _gap(target, frame, _sphere_mean(d)),
    }


def _largest(target: Target, iterations: int) -> float:
    """The largest abs(s(v) - mu_a g(0)) over the sphere, by descent from the ends of the linear part."""
    w = (target.a * target.W).mean(0)
    ends = (torch.stack([w, -w]) / w.norm()).unsqueeze(1)
    found = []
    for sign in (1, -1):

        def objective(V: Tensor, sign: int = sign) -> tuple[Tensor, None]:
            return -sign * target.correlation(V).flatten(1).sum(1), None

        found.append(sign * -lbfgs(objective, ends, iterations=iterations, tolerance=1e-7).value)
    return max(abs(s - _MU * _G0) for s in found)


def _gap(target: Target, V: Tensor, level: float) -> float:
    """abs(L - L_limit) at b = (29), with the distribution's mu_a and ``level`` for g(0)."""
    M = len(V)
    b = M * _MU * level * pseudo_solve(target.neurons(V).gram(), torch.ones(M, 1, dtype=V.dtype))
    return float((2 / M * (b * (target.correlation(V) - _MU * level)).sum()).abs())


def _sphere_mean(d: int) -> float:
    """The mean of ReLU's g(<v, w>) over w uniform on the sphere in R^d: the least energy of ever more vectors."""
    return 1 / objective_bound(10**12, d, "relu")


def _mean(found: list[dict[str, float]]) -> dict[str, float]:
    return {key: math.fsum(one[key] for one in found) / len(found) for key in found[0]}


def _slope(sizes: Sequence[int], values: np.ndarray) -> tuple[float, float]:
    """The slope on log axes of the mean of ``values`` (sizes, draws) over the draws, and its jackknife error."""
    draws = values.shape[1]
    kept = [values, *(np.delete(values, i, axis=1) for i in range(draws))]
    whole, *without = np.polyfit(np.log(sizes), np.log(np.stack([part.mean(1) for part in kept], 1)), 1)[0]
    return float(whole), float(np.std(without) * math.sqrt(draws - 1))


def orientation(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """What the limit is worth: the loss of turned simplices and of random directions against the full optimum.

    Args:
        scale: N = 100, 400, 1600, d = 10, 30, M = 4, 8, 11 and 3 targets each at ``"small"``.
        seed: of the first target.
    """
    sizes = at(scale, (40,), (100, 400, 1600), (100, 400, 1600, 6400))
    dimensions, counts = (
        at(scale, (6,), (10, 30), (10, 30, 100)),
        at(scale, (4,), (4, 8, 11), (4, 8, 11, 12, 20, 31)),
    )
    draws, iterations = at(scale, 1, 3, 10), at(scale, 30, 100, 200)
    rows: list[Row] = []
    for N, d, M in itertools.product(sizes, dimensions, counts):
        if d + 1 >= M:
            cases = [_Draw("orientation", N, d, M, s, iterations) for s in range(seed, seed + draws)]
            rows.append({"N": N, "d": d, "M": M} | _mean(in_parts("targets", cases, _losses)))
    ratios = [row["turned"] / row["optimum"] for row in rows]
    notes = [
        f"the best-turned simplex loses {min(ratios):.3f} to {max(ratios):.3f} times the optimum, "
        f"a simplex in a random rotation {min(r['simplex'] / r['optimum'] for r in rows):.2f} to "
        f"{max(r['simplex'] / r['optimum'] for r in rows):.2f} times, random directions "
        f"{min(r['random'] / r['optimum'] for r in rows):.1f} to {max(r['random'] / r['optimum'] for r in rows):.1f}",
        f"the limit foretells {min(r['limit'] / r['turned'] for r in rows):.2f} to "
        f"{max(r['limit'] / r['turned'] for r in rows):.1f} times what the best-turned simplex loses",
        f"over random starts the optimum found varies by {max(row['spread'] for row in rows):.2%} at most",
    ]
    return Outcome("orientation", scale, {"draws": draws, "seed": seed}, rows, _draw_orientation(rows), notes)


def _losses(draw: _Draw) -> dict[str, float]:
    M, d, target = draw.M, draw.d, random_target(draw.N, draw.d, draw.seed)
    source = seeded(2000 + draw.seed)
    random = unit(8, M, d, source=source)
    simplices = simplex_etf(M, d) @ random_frames(32, d, d, generator=source)
    turned = best_orientation(target, M, restarts=4, generator=source)
    descent = lbfgs(
        full_objective(target), torch.cat([turned[None], random]), iterations=draw.iterations, tolerance=1e-7
    )
    ends = descent.values[-1, 1:]
    V = descent.best
    b = target.coefficients(V)
    return {
        "power": target.power,
        "random": float(target.least_loss(random).mean()),
        "simplex": float(target.least_loss(simplices).mean()),
        "turned": float(target.least_loss(turned)),
        "optimum": float(target.least_loss(V)),
        "limit": float(target.least_limit_loss(turned)),
        "gap": float(target.gap(V, b)),
        "spread": float((ends.max() - ends.min()) / ends.min()),
    }


def _draw_decay(rows: list[Row], slopes: dict[tuple[str, str], tuple[float, float]]) -> Figure:
    figure, panels = canvas(["against N", "against d"], width=4, height=3.4)
    for panel, varied in zip(panels, ("N", "d"), strict=True):
        mine = [row for row in rows if row["varied"] == varied]
        for colour, mark, key in zip(COLOURS, "osD^", _NAMES, strict=False):
            label = f"{_NAMES[key]}: {slopes[varied, key][0]:.2f}"
            panel.plot(
                [row[varied] for row in mine], [row[key] for row in mine], f"{mark}-", ms=4, color=colour, label=label
            )
        _log(panel, varied)
    return figure


def _draw_orientation(rows: list[Row]) -> Figure:
    figure, (panel,) = canvas(["loss over that of the optimum"], width=5, height=3.4)
    optimum = [row["optimum"] / row["power"] for row in rows]
    for colour, mark, key in zip(COLOURS, "osD", ("random", "simplex", "turned"), strict=False):
        panel.plot(optimum, [row[key] / row["optimum"] for row in rows], mark, ms=5, color=colour, label=key)
    _log(panel, "optimum, part of the target's power")
    return figure


def _log(panel: Axes, label: str) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel(label)
    panel.legend(frameon=False, fontsize=7)
