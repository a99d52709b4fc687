"""Figure 5: how far from the kernel regime a network starts, against alpha."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from widthwise import flow
from widthwise.experiments.asymmetrical_scaling.simulated import sphere
from widthwise.experiments.common import at, canvas
from widthwise.experiments.outcome import Outcome, Row
from widthwise.report.style import LIGHT
from widthwise.scaling import zipf, zipf_asymmetry

__all__ = ["fig5"]


def fig5(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Figure 5: sum of the squared shares of Zipf's law against alpha, and the NTG's measured total variance over C0.

    Args:
        scale: networks of the paper's width, and more of them, at ``"paper"``.
        seed: of the first network.
    """
    n, d, width = at(scale, 10, 30, 100), at(scale, 5, 15, 50), at(scale, 500, 2000, 2000)
    draws = at(scale, 20, 100, 200)
    x, _ = sphere(n, d, seed)
    mean, constant = flow.mean_ntg("relu", x), flow.variance_constant("relu", x)
    rows: list[Row] = []
    for alpha in torch.linspace(0.05, 0.95, at(scale, 7, 19, 37), dtype=torch.float64).tolist():
        measured = None
        if round(alpha * 100) % 10 == 5:
            lam = zipf(width, alpha, 0.0)
            measured = _measured_variance(x, lam, mean, draws, seed) / constant
        finite = float(zipf(width, alpha, 0.0).square().sum())
        rows.append({"alpha": alpha, "limit": float(zipf_asymmetry(alpha)), "at_width": finite, "measured": measured})
    figure, (panel,) = canvas(["Σ share² of Zipf's law"], width=5, height=3.4)
    panel.plot(
        [r["alpha"] for r in rows], [r["limit"] for r in rows], color=LIGHT["series-1"], label="ζ(2/α) / ζ(1/α)²"
    )
    shown = [r for r in rows if r["measured"] is not None]
    label = f"E‖NTG − mean‖² / C₀, m = {width}"
    panel.plot([r["alpha"] for r in shown], [r["measured"] for r in shown], "o", color=LIGHT["series-2"], label=label)
    panel.set_xlabel("α")
    panel.legend(frameon=False)
    worst = max(abs(r["measured"] / r["at_width"] - 1) for r in shown)
    notes = [f"Measured total variance over C0 * sum lambda^2 is 1 to within {worst:.2g} ({draws} networks a point)."]
    return Outcome(
        "fig5", scale, {"n": n, "d": d, "width": width, "networks": draws, "seed": seed}, rows, figure, notes
    )


def _measured_variance(x: Tensor, lam: Tensor, mean: Tensor, draws: int, seed: int) -> float:
    source = torch.Generator().manual_seed(seed)
    x = x.double() / math.sqrt(x.shape[1])
    total = 0.0
    for _ in range(draws):
        slope = (torch.randn(len(lam), x.shape[1], dtype=torch.float64, generator=source) @ x.mT > 0).double()
        total += float(((x @ x.mT) * (slope.mT @ (slope * lam.unsqueeze(1))) - mean).square().sum())
    return total / draws
