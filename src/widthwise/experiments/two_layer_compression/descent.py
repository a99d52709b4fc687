"""Gradient descent on the limit objective against the simplex: Figures 2, 3 and 4, with a fast optimiser beside."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from widthwise.compression import (
    Descent,
    etf_objective,
    gradient_descent,
    lbfgs,
    limit_energy,
    network_distance,
    simplex_etf,
)
from widthwise.experiments.common import at, canvas, seeded, spread_out
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.experiments.two_layer_compression.common import COLOURS, timed, unit

__all__ = ["DIGITS", "STEP", "error", "fig2", "fig3", "fig4", "iterations_to"]

STEP = 0.6
"""One step length for every M; at d = 50 it takes M = 30 to 1e-12 within the paper's 10^3 iterations."""

DIGITS = 1e-12
"""How near to R_ETF every start shall come."""


def fig2(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Figure 2: the limit objective found by gradient descent and by L-BFGS, and R_ETF, for every M.

    The paper does not give d or the step length. Both optimisers get the same starts at once; L-BFGS runs before and
    after gradient descent, and its mean time counts.

    Args:
        scale: M = 5 to 30 from ``"small"`` on.
        seed: of the starts.
    """
    sizes, d, starts, iterations = _plan(scale, tuple(range(5, 31)))
    rows: list[Row] = [*in_parts("sizes", [_Race(M, d, starts, iterations, STEP, seed) for M in sizes], _raced)]
    return Outcome("fig2", scale, _settings(d, starts, iterations, seed), rows, _draw_values(rows), _values_notes(rows))


@dataclass(frozen=True)
class _Race:
    """Both optimisers from the same starts, and all that where they end depends on."""

    M: int
    d: int
    starts: int
    iterations: int
    step: float
    seed: int


def _raced(race: _Race) -> dict[str, Any]:
    M, iterations = race.M, race.iterations
    first, slow, second = (
        _run(kind, M, race.d, race.starts, iterations, race.seed) for kind in ("fast", "slow", "fast")
    )
    gap, fast_gap = (error(descent, M) for descent, _ in (slow, first))
    seconds, fast_seconds = slow[1], statistics.fmean((first[1], second[1]))
    reached = iterations_to(gap, DIGITS)
    return (
        {"M": M, "simplex": etf_objective(M, "relu"), "gd_error": float(gap[-1].max()), "gd_reached": reached}
        | {"lbfgs_error": float(fast_gap[-1].max()), "lbfgs_iterations": len(fast_gap) - 1}
        | {"gd_seconds": seconds, "lbfgs_seconds": fast_seconds, "faster": seconds / fast_seconds}
        | {"faster_to_digits": None if reached is None else seconds * reached / iterations / fast_seconds}
    )


def fig3(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Figure 3: the distance (35) of gradient descent from the simplex against the iteration, for several M.

    Args:
        scale: M = 5, 10, ..., 30 from ``"small"`` on.
        seed: of the starts.
    """
    sizes, d, starts, iterations = _plan(scale, (5, 10, 15, 20, 25, 30))
    rows: list[Row] = []
    notes = []
    for M in sizes:
        frame = simplex_etf(M, d)

        def distance(V: Tensor, frame: Tensor = frame) -> Tensor:
            return network_distance(V, frame, "relu")

        start = unit(starts, M, d, source=seeded(seed))
        descent = gradient_descent(limit_energy("relu"), start, step=STEP, iterations=iterations, watch=distance)
        assert descent.watched is not None
        curves = descent.watched.numpy()
        rows += [
            {"M": M, "iteration": i, "least": float(curves[i].min()), "greatest": float(curves[i].max())}
            for i in _shown(iterations)
        ]
        rates, straight = zip(*map(_rate, curves.T), strict=True)
        notes.append(
            f"M = {M}: over the starts the distance falls by {min(rates):.4f} to {max(rates):.4f} times an iteration "
            f"(R^2 of the lines at least {min(straight):.4f})"
        )
    figure = _draw_bands(rows, "distance from the simplex, over the starts", ("least", "greatest"))
    return Outcome("fig3", scale, _settings(d, starts, iterations, seed), rows, figure, notes)


def fig4(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Figure 4: the least and the greatest objective of gradient descent over ten starts, against the iteration.

    Args:
        scale: M = 5, 10, 20, 30 from ``"small"`` on.
        seed: of the starts.
    """
    sizes, d, starts, iterations = _plan(scale, (5, 10, 20, 30))
    rows: list[Row] = []
    for M in sizes:
        found, _ = _run("slow", M, d, starts, iterations, seed)
        short = etf_objective(M, "relu") + found.values
        for i in _shown(iterations):
            least, greatest = float(-found.values[i].max()), float(-found.values[i].min())
            row = {"M": M, "iteration": i, "least": least, "greatest": greatest}
            rows.append(row | {"short_least": float(short[i].min()), "short_most": float(short[i].max())})
    figure = _draw_bands(rows, "short of the simplex, over the starts", ("short_least", "short_most"))
    return Outcome("fig4", scale, _settings(d, starts, iterations, seed), rows, figure)


def _shown(iterations: int) -> range:
    """The iterations written down, about 200 of them."""
    return range(0, iterations + 1, max(1, iterations // 200))


def _plan(scale: str, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], int, int, int]:
    """Sizes M, dimension, starts and iterations."""
    return at(scale, (3, 5), sizes, sizes), at(scale, 8, 50, 50), at(scale, 2, 10, 10), at(scale, 120, 1000, 1000)


def _settings(d: int, starts: int, iterations: int, seed: int) -> dict[str, Any]:
    return {"activation": "relu", "d": d, "starts": starts, "iterations": iterations, "step": STEP, "seed": seed}


def _run(kind: str, M: int, d: int, starts: int, iterations: int, seed: int) -> tuple[Descent, float]:
    objective, start = limit_energy("relu"), unit(starts, M, d, source=seeded(seed))
    if kind == "fast":
        return timed(lambda: lbfgs(objective, start, tolerance=3e-8))
    return timed(lambda: gradient_descent(objective, start, step=STEP, iterations=iterations))


def error(descent: Descent, M: int) -> Tensor:
    """How far from R_ETF each start was at each iteration, shape (iterations + 1, starts)."""
    return (etf_objective(M, "relu") + descent.values).abs()


def iterations_to(errors: Tensor, size: float) -> int | None:
    """The first iteration from which every start stays within ``size``."""
    outside = (errors > size).any(1).nonzero()
    last = int(outside.max()) if len(outside) else -1
    return None if last == len(errors) - 1 else last + 1


def _rate(curve: np.ndarray) -> tuple[float, float]:
    """The factor an iteration and how straight the line is on a log axis, from a third of its start down to 1e-6."""
    usable = np.arange(len(curve))[(curve < curve[0] / 3) & (curve > 1e-6)]
    if len(usable) < 3:
        return float("nan"), float("nan")
    logs = np.log(curve[usable])
    slope, level = np.polyfit(usable, logs, 1)
    residual = logs - (slope * usable + level)
    return float(np.exp(slope)), float(1 - residual.var() / logs.var())


def _values_notes(rows: list[Row]) -> list[str]:
    worst = max(max(row["gd_error"], row["lbfgs_error"]) for row in rows)
    slow, fast = (sum(row[key] for row in rows) for key in ("gd_seconds", "lbfgs_seconds"))
    times = [row["faster"] for row in rows]
    return [
        "R_ETF: " + ", ".join(f"{row['simplex']:.6f} at M = {row['M']}" for row in rows if row["M"] in (5, 10, 30)),
        f"the largest distance from R_ETF over all M and starts, of either optimiser, is {worst:.1e}",
        f"all iterations of gradient descent took {slow:.1f} s, L-BFGS to the same digits {fast:.2f} s: "
        f"{slow / fast:.0f} times as long, from {min(times):.0f} to {max(times):.0f} by M",
    ]


def _draw_values(rows: list[Row]) -> Figure:
    figure, (values, times) = canvas(["limit objective", "seconds, all starts"], width=4)
    sizes = [row["M"] for row in rows]
    values.plot(sizes, [row["simplex"] for row in rows], "-", color=COLOURS[1], label="simplex ETF")
    values.plot(sizes, [row["simplex"] - row["gd_error"] for row in rows], "o", ms=4, color=COLOURS[0], label="descent")
    times.plot(sizes, [row["gd_seconds"] for row in rows], "o-", ms=4, color=COLOURS[0], label="gradient descent")
    times.plot(sizes, [row["lbfgs_seconds"] for row in rows], "s-", ms=4, color=COLOURS[1], label="L-BFGS")
    times.set_yscale("log")
    for panel in (values, times):
        panel.set_xlabel("M")
        panel.legend(frameon=False)
    return figure


def _columns(rows: list[Row], M: int, *keys: str) -> list[list[float]]:
    return [[row[key] for row in rows if row["M"] == M] for key in keys]


def _draw_bands(rows: list[Row], title: str, band: tuple[str, str]) -> Figure:
    figure, (panel,) = canvas([title], width=5, height=3.4)
    for colour, M in zip(COLOURS, spread_out(rows, "M"), strict=False):
        iterations, least, most = _columns(rows, M, "iteration", *band)
        low, high = ([max(value, 1e-15) for value in values] for values in (least, most))
        panel.fill_between(iterations, low, high, color=colour, alpha=0.4, label=f"M = {M}")
    panel.set_yscale("log")
    panel.set_xlabel("iteration")
    panel.legend(frameon=False)
    return figure
