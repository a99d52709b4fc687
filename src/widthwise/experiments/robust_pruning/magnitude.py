"""The critical sparsity of magnitude pruning against Proposition 4's bound: Table 7."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from widthwise.experiments.common import at, canvas, seeded, spread_out
from widthwise.experiments.outcome import Outcome, Row
from widthwise.pruning import critical_sparsity
from widthwise.pruning.theory import magnitude_bound
from widthwise.report.style import LIGHT

__all__ = ["PRINTED", "table7"]

PRINTED = {5: 0.79, 10: 0.69}
"""What the paper gives as measured, by gamma."""

# Name -> (power of gamma that divides one layer's deviation, whether that layer has gamma times as many weights).
_SETTINGS = {"deviation / √γ": (0.5, False), "deviation / γ": (1.0, False), "fan-in γ N": (0.5, True)}


def table7(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Table 7: critical sparsity of magnitude pruning when one layer's weights are smaller, without data.

    The paper means a layer of fan-in gamma N, and prints gamma where the proof has the ratio of standard deviations.
    Its measured 0.79 and 0.69 (gamma 5 and 10) are those of none of the readings below.

    Args:
        scale: 100 layers of width 100 and ten simulations at ``"small"``.
        seed: of the first simulation.
    """
    depth, width, simulations = at(scale, 10, 100, 100), at(scale, 20, 100, 100), at(scale, 2, 10, 100)
    rows: list[Row] = []
    for name, (power, wide) in _SETTINGS.items():
        for gamma in (2, 5, 10):
            ratio, size = gamma**power, width**2 * (gamma if wide else 1)
            draws = range(seed, seed + simulations)
            found = torch.tensor([critical_sparsity(_scores(depth, width**2, size, ratio, s)) for s in draws])
            rows.append(
                {"setting": name, "gamma": gamma, "measured": float(found.mean()), "deviation": float(found.std())}
                | {"bound": magnitude_bound(ratio, width, size / width**2)}
                | {"bound_as_printed": magnitude_bound(gamma, width, size / width**2)}
            )
    settings: dict[str, Any] = {"depth": depth, "width": width, "simulations": simulations, "seed": seed}
    return Outcome("table7", scale, settings, rows, _draw(rows))


def _scores(depth: int, size: int, odd_size: int, ratio: float, seed: int) -> dict[str, Tensor]:
    generator = seeded(seed)
    odd = torch.randn(odd_size, generator=generator).abs_() / ratio
    return {"odd": odd, "others": torch.randn((depth - 1) * size, generator=generator).abs_()}


def _draw(rows: list[Row]) -> Figure:
    names = spread_out(rows, "setting")
    figure, panels = canvas(names)
    looks = {"measured": ("o-", "series-1"), "bound": ("--", "series-2"), "bound_as_printed": (":", "series-4")}
    for panel, name in zip(panels, names, strict=True):
        mine = [row for row in rows if row["setting"] == name]
        for key, (style, colour) in looks.items():
            values = [min(1.0, row[key]) if math.isfinite(row[key]) else 1.0 for row in mine]
            panel.plot([row["gamma"] for row in mine], values, style, color=LIGHT[colour], label=key.replace("_", " "))
        panel.plot(list(PRINTED), list(PRINTED.values()), "D", mfc="none", color=LIGHT["ink"], label="the paper")
        panel.set_ylim(0, 1.05)
        panel.set_xlabel("γ")
    panels[0].set_ylabel("critical sparsity")
    panels[0].legend(frameon=False)
    return figure
