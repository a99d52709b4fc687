"""How scores grow with depth in residual networks: Theorem 2 and Proposition 2."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure

from widthwise.experiments.common import at, canvas, seeded, spread_out
from widthwise.experiments.outcome import Outcome, Row
from widthwise.init import gaussian_
from widthwise.models import residual_mlp
from widthwise.pruning.scores import snip
from widthwise.pruning.theory import mean_squares
from widthwise.report.style import LIGHT

__all__ = ["growth"]

_INPUTS = 50


def growth(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """m_l = E|W dL/dW|^2 in standard and stable residual ReLU networks of L blocks, without data.

    Theorem 2 has m_l grow as (1 + sigma_w^2 / 2)^L in standard networks, Proposition 2 fall as 1/L in stable ones, but
    for the first layer, which is not scaled. The loss is a random linear function of the outputs.

    Args:
        scale: depths to 64 at ``"small"``.
        seed: of the first simulation.
    """
    width, simulations = at(scale, 32, 200, 500), at(scale, 4, 20, 50)
    depths = at(scale, (2, 4, 8), (4, 8, 16, 32, 64), (4, 8, 16, 32, 64, 128))
    rows: list[Row] = []
    for stable in (False, True):
        for sigma_w in (1.0, math.sqrt(2)):
            for depth in depths:
                draws = range(seed, seed + simulations)
                found = torch.tensor([_mean_squares(depth, width, sigma_w, stable, s) for s in draws]).mean(0)
                blocks = found[1:-1]
                theory = (1 + sigma_w**2 / 2) ** depth if not stable else 1 / depth
                rows.append(
                    {"stable": stable, "sigma_w": sigma_w, "depth": depth, "first": float(found[0])}
                    | {"mean": float(blocks.mean()), "least": float(blocks.min()), "most": float(blocks.max())}
                    | {"theory": theory, "over_theory": float(blocks.mean()) / theory}
                )
    settings: dict[str, Any] = {"width": width, "inputs": _INPUTS, "batch": 8, "simulations": simulations, "seed": seed}
    return Outcome("growth", scale, settings, rows, _draw(rows))


def _mean_squares(depth: int, width: int, sigma_w: float, stable: bool, seed: int) -> list[float]:
    generator = seeded(seed)
    model = residual_mlp(_INPUTS, 10, width=width, depth=depth, bias=False, stable=stable).double()
    gaussian_(model, sigma_w, generator=generator)
    x = torch.randn(8, _INPUTS, dtype=torch.float64, generator=generator)
    probe = torch.randn(8, 10, dtype=torch.float64, generator=generator)
    scores = snip(model, (x, probe), lambda output, y: (output * y).mean())
    return list(mean_squares(scores).values())


def _draw(rows: list[Row]) -> Figure:
    figure, panels = canvas(["standard", "stable"], width=4)
    for panel, stable in zip(panels, (False, True), strict=True):
        for colour, sigma_w in zip(("series-1", "series-2"), spread_out(rows, "sigma_w"), strict=True):
            mine = [row for row in rows if (row["stable"], row["sigma_w"]) == (stable, sigma_w)]
            depths, anchor = [row["depth"] for row in mine], mine[0]["mean"] / mine[0]["theory"]
            label = f"σ_w² = {sigma_w**2:.0f}"
            panel.plot(depths, [row["mean"] for row in mine], "o", color=LIGHT[colour], label=label)
            panel.plot(depths, [anchor * row["theory"] for row in mine], "--", color=LIGHT[colour])
        panel.set_yscale("log")
        panel.set_xlabel("blocks L")
        if stable:
            panel.set_xscale("log", base=2)
    panels[0].set_ylabel("m_l (dashed: theory)")
    panels[0].legend(frameon=False)
    return figure
