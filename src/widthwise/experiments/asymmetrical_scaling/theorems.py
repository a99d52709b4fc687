"""Theorems 4.1 (c), 5.1 and 5.2 and the limit (11), measured with the theory drawn on top."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from widthwise import activations, flow
from widthwise.experiments.asymmetrical_scaling.common import SETTINGS, Part, log_height, network, settings_record
from widthwise.experiments.asymmetrical_scaling.simulated import sphere
from widthwise.experiments.common import at, canvas
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.scaling import zipf

__all__ = ["theorems"]

_SMOOTH = "softplus"


def theorems(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """What each node does against its lambda_j, and what the NTG does, with the theory's line on top.

    How far nodes move until t, below the bound of 4.1 (c); the root mean square over weights and signs of their first
    step and its mean (5.1); the mean first change of the NTG for softplus (5.2); quantiles of the smallest eigenvalue
    of the NTG at the start against those of draws of its limit (11).

    Args:
        scale: the sizes of Figure 1 at ``"paper"``.
        seed: of data and weights.
    """
    parts = [Part("theorems", scale, None, s.gamma, s.alpha, seed) for s in SETTINGS]
    rows: list[Row] = [row for found in in_parts("theorems", parts, _measured) for row in found["rows"]]
    n, d, width, draws = _sizes(scale)
    record = settings_record(n=n, d=d, width=width, draws=draws, seed=seed, smooth_activation=_SMOOTH, t=_time(scale))
    return Outcome("theorems", scale, record, rows, _draw(rows), _notes(rows))


def _sizes(scale: str) -> tuple[int, int, int, int]:
    """Inputs, their size, nodes, and networks drawn."""
    return at(scale, 10, 50, 100), at(scale, 5, 25, 50), at(scale, 60, 500, 2000), at(scale, 200, 500, 500)


def _measured(part: Part) -> dict[str, list[Row]]:
    n, d, _, draws = _sizes(part.scale)
    x, y = sphere(n, d, part.seed)
    rows = _movement(part, x, y)
    rows += _first_step(part, x, y, draws)
    rows += _ntg_change(part, x, y, draws)
    rows += _limit(part, x, max(50, draws // 10))
    return {"rows": rows}


def _time(scale: str) -> float:
    return at(scale, 100.0, 1000.0, 1000.0)


def _row(part: Part, quantity: str, at: float, measured: float, theory: float, error: float | None = None) -> Row:
    key = {"gamma": part.gamma, "alpha": part.alpha, "quantity": quantity, "at": at}
    return {**key, "measured": measured, "error": error, "theory": theory}


def _shown(width: int) -> list[int]:
    """A few nodes, spaced geometrically."""
    return sorted({round(j) for j in torch.logspace(0, math.log10(width), 12, dtype=torch.float64).tolist()})


def _scalings(part: Part) -> Tensor:
    return zipf(_sizes(part.scale)[2], part.alpha, part.gamma)


def _movement(part: Part, x: Tensor, y: Tensor) -> list[Row]:
    """Movement of nodes of like lambda_j, on average, against the bound of 4.1 (c)."""
    width = _sizes(part.scale)[2]
    model = network(part, x.shape[1], width)
    t, kappa = _time(part.scale), flow.kappa("relu", x)
    run = flow.train(model, x, y, t, record=("loss", "movement"), at=[0.0, t], rtol=3e-3)
    bound = flow.movement_bound("relu", x, model.lam, float(run["loss"][0]), part.gamma, kappa, t)
    rows, places = [], _shown(width)
    for j, after in zip(places, [*places[1:], width + 1], strict=True):
        nodes = slice(j - 1, after - 1)
        moved, lam = run["movement"][-1][nodes], float(model.lam[nodes].mean())
        rows.append(_row(part, "movement", lam, float(moved.mean()), float(bound[nodes].mean())))
    over = float((run["movement"][-1] / bound).max())
    return [*rows, _row(part, "movement over its bound", 1.0, over, 1.0)]


def _first_step(part: Part, x: Tensor, y: Tensor, draws: int) -> list[Row]:
    """Root mean square and mean of dw_j/dt at the start, over weights and signs, both over coordinates k too."""
    lam, source = _scalings(part), torch.Generator().manual_seed(part.seed)
    x, y = x.double() / math.sqrt(x.shape[1]), y.double()
    nodes = [j - 1 for j in _shown(len(lam))]
    mean = flow.first_step_mean("relu", x * math.sqrt(x.shape[1]), lam)[nodes]
    rms = flow.first_step_rms("relu", x * math.sqrt(x.shape[1]), y, lam)[nodes]
    steps = []
    for _ in range(draws):
        w = torch.randn(len(lam), x.shape[1], dtype=torch.float64, generator=source)
        signs = 2.0 * torch.randint(2, (len(lam),), generator=source).double() - 1
        z = x @ w.mT
        residual = y - z.clamp_min(0) @ (lam.sqrt() * signs)
        slope = (z[:, nodes] > 0).double() * (lam.sqrt() * signs)[nodes]
        steps.append((x * residual.unsqueeze(1)).mT @ slope)
    found = torch.stack(steps).mT  # (draws, nodes, d)
    squares, along = found.square().mean(2), (found * mean).sum(2) / mean.norm(dim=1)
    rows = []
    for i, j in enumerate(nodes):
        at, error = float(lam[j]), float(along[:, i].std()) / math.sqrt(draws)
        measured = float(squares[:, i].mean().sqrt())
        spread = float(squares[:, i].std()) / math.sqrt(draws) / (2 * measured)
        rows.append(_row(part, "first step", at, measured, float(rms[i].square().mean().sqrt()), spread))
        rows.append(_row(part, "mean first step", at, float(along[:, i].mean()), float(mean[i].norm()), error))
    return rows


def _ntg_change(part: Part, x: Tensor, y: Tensor, draws: int) -> list[Row]:
    """Mean over weights and signs of dNTG/dt at the start, along the direction that the theory gives, against it."""
    lam, act = _scalings(part), activations.get(_SMOOTH)
    x, y = x[:10].double(), y[:10].double()
    expected, _ = flow.first_step_ntk_change(_SMOOTH, x, lam, samples=400_000, seed=part.seed)
    x, source, changes = x / math.sqrt(x.shape[1]), torch.Generator().manual_seed(part.seed), []
    for _ in range(draws):
        w = torch.randn(len(lam), x.shape[1], dtype=torch.float64, generator=source)
        z, kernel = x @ w.mT, x @ x.mT
        slope = act.derivative(z)
        bend = torch.func.grad(lambda t: act.derivative(t).sum())(z)
        out = lam.sqrt() * (2.0 * torch.randint(2, (len(lam),), generator=source).double() - 1)
        moved = kernel @ (slope * (y - act.phi(z) @ out).unsqueeze(1)) * out
        changes.append(kernel * ((bend * moved * lam) @ slope.mT + (slope * lam) @ (bend * moved).mT))
    along = (torch.stack(changes) * expected).sum((1, 2)) / expected.norm()
    error = float(along.std()) / math.sqrt(draws)
    return [_row(part, "NTG change", float(lam.square().sum()), float(along.mean()), float(expected.norm()), error)]


def _limit(part: Part, x: Tensor, draws: int) -> list[Row]:
    """Quantiles of the smallest eigenvalue of the NTG at the start against those of draws of its limit."""
    source, kernel = torch.Generator().manual_seed(part.seed), x.double() @ x.double().mT / x.shape[1]
    lam, found = _scalings(part), []
    for _ in range(draws):
        w = torch.randn(len(lam), x.shape[1], dtype=torch.float64, generator=source)
        slope = (x.double() @ w.mT > 0).double()
        found.append(torch.linalg.eigvalsh(kernel * ((slope * lam) @ slope.mT))[0])
    shares = zipf(10_000, part.alpha or 0.5) if part.gamma < 1 else torch.ones(1)
    limits = flow.limiting_ntg("relu", x, shares, part.gamma, draws=draws, seed=part.seed + 1)
    limiting = torch.linalg.eigvalsh(limits)[:, 0]
    levels = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64)
    pairs = zip(levels.tolist(), torch.stack(found).quantile(levels), limiting.quantile(levels), strict=True)
    return [_row(part, "smallest eigenvalue", level, float(a), float(b)) for level, a, b in pairs]


def _notes(rows: list[Row]) -> list[str]:
    def quotients(quantity: str) -> list[float]:
        return [r["measured"] / r["theory"] for r in rows if r["quantity"] == quantity and r["theory"] > 0]

    off = [r for r in rows if r["error"]]
    sigmas = sorted(abs(r["measured"] - r["theory"]) / r["error"] for r in off)
    worst = max(r["measured"] for r in rows if r["quantity"] == "movement over its bound" and r["gamma"] > 0)
    first, change = quotients("first step"), quotients("NTG change")
    return [
        f"No node moved further than {worst:.2f} of its bound (gamma > 0).",
        f"First step, root mean square over theory: {min(first):.3f} to {max(first):.3f}.",
        f"First change of the NTG over theory: {min(change):.3f} to {max(change):.3f}.",
        f"Of {len(off)} measured expectations {sum(s < 2 for s in sigmas)} lie within two standard errors of the "
        f"theory, the farthest {sigmas[-1]:.1f} away.",
    ]


def _draw(rows: list[Row]) -> Figure:
    titles = {
        "movement": "|w_j(t) − w_j(0)| (dotted: bound 4.1 c)",
        "first step": "RMS of dw_jk/dt at 0 (line: theory)",
        "mean first step": "|E dw_j/dt| at 0 (line: 5.1)",
        "NTG change": "|E dNTG/dt| at 0, softplus (line: 5.2)",
        "smallest eigenvalue": "smallest eigenvalue at 0 (line: limit 11)",
    }
    figure, panels = canvas(list(titles.values()), columns=3, width=4.0)
    for panel, quantity in zip(panels, titles, strict=True):
        for setting in SETTINGS:
            mine = [r for r in rows if (r["quantity"], r["gamma"]) == (quantity, setting.gamma)]
            places = [r["at"] for r in mine]
            panel.plot(places, [r["measured"] for r in mine], "o", ms=4, color=setting.colour, label=setting.label)
            line = ":" if quantity == "movement" else "-"
            panel.plot(places, [r["theory"] for r in mine], line, color=setting.colour, linewidth=1.2)
        log_height(panel)
        if quantity != "smallest eigenvalue":
            panel.set_xscale("log")
            panel.set_xlabel("Σ λ²" if quantity == "NTG change" else "λ_j")
        else:
            panel.set_xlabel("quantile")
    panels[0].legend(frameon=False)
    return figure
