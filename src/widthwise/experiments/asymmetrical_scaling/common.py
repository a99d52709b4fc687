"""What the experiments share: the paper's four settings, bands over seeds, their look."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from widthwise.experiments.outcome import Row
from widthwise.models import Shallow
from widthwise.report.style import LIGHT
from widthwise.scaling import zipf

__all__ = ["SETTINGS", "Setting", "band_rows", "draw_bands", "fleet", "line", "order", "settings_record"]


@dataclass(frozen=True)
class Setting:
    """One pair of gamma and alpha."""

    gamma: float
    alpha: float | None
    colour: str

    @property
    def label(self) -> str:
        """How a legend names it."""
        return f"γ = {self.gamma:g}" + ("" if self.alpha is None else f", α = {self.alpha:g}")

    @property
    def key(self) -> dict[str, float | None]:
        """What identifies its rows."""
        return {"gamma": self.gamma, "alpha": self.alpha}


SETTINGS = (
    Setting(1.0, None, LIGHT["series-0"]),
    Setting(0.5, 0.7, LIGHT["series-1"]),
    Setting(0.2, 0.5, LIGHT["series-3"]),
    Setting(0.0, 0.4, LIGHT["series-2"]),
)
"""From the kernel regime to the most asymmetrical: the order expected of what is learned of features."""


def fleet(d: int, width: int, seeds: Sequence[int], *, outputs: int = 1, init_variance: float = 1.0) -> list[Shallow]:
    """A network for each setting and seed, settings outermost; a seed gives all settings the same weights and signs."""
    models = []
    for setting in SETTINGS:
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                lam = zipf(width, setting.alpha, setting.gamma)
                models.append(Shallow(d, lam, outputs, "relu", init_variance))
    return models


def band_rows(axis: str, places: Sequence[float], curves: Mapping[str, Tensor]) -> list[Row]:
    """Rows of mean, least and most over seeds.

    Args:
        axis: what the places are, such as ``"steps"``.
        places: ``P`` of them.
        curves: quantity -> ``(4 * seeds, P)``, settings outermost.
    """
    rows: list[Row] = []
    for name, values in curves.items():
        for setting, runs in zip(SETTINGS, values.double().view(len(SETTINGS), -1, len(places)), strict=True):
            for place, found in zip(places, runs.unbind(1), strict=True):
                band = {"mean": float(found.mean()), "least": float(found.min()), "most": float(found.max())}
                rows.append({**setting.key, "axis": axis, "at": float(place), "quantity": name, **band})
    return rows


def line(rows: Sequence[Row], setting: Setting, axis: str, quantity: str) -> list[Row]:
    """The rows of one curve."""
    wanted = (setting.gamma, axis, quantity)
    return [row for row in rows if (row["gamma"], row["axis"], row["quantity"]) == wanted]


def draw_bands(panel: Axes, rows: Sequence[Row], axis: str, quantity: str, *, theory: str | None = None) -> None:
    """A line and a band for each setting on a logarithmic axis, and the theory's line dotted."""
    for setting in SETTINGS:
        mine = [row for row in line(rows, setting, axis, quantity) if row["at"] > 0]
        places = [row["at"] for row in mine]
        panel.plot(places, [row["mean"] for row in mine], color=setting.colour, label=setting.label, linewidth=1.5)
        low, high = ([row[end] for row in mine] for end in ("least", "most"))
        panel.fill_between(places, low, high, color=setting.colour, alpha=0.2, linewidth=0)
        if theory is not None:
            bound = [row["mean"] for row in line(rows, setting, axis, theory) if row["at"] > 0]
            panel.plot(places, bound, ":", color=setting.colour, linewidth=1.2)
    panel.set_xscale("log")


def order(rows: Sequence[Row], axis: str, quantity: str, at: float, *, rising: bool) -> str:
    """A sentence on whether a mean has the order expected over the settings, at the place nearest to ``at``."""
    nearest = [min(line(rows, s, axis, quantity), key=lambda row: abs(row["at"] - at)) for s in SETTINGS]
    found = [row["mean"] for row in nearest]
    fits = all(a < b if rising else a > b for a, b in itertools.pairwise(found))
    numbers = ", ".join(f"{s.label}: {value:.4g}" for s, value in zip(SETTINGS, found, strict=True))
    verdict = "as expected" if fits else "NOT the expected order"
    way = "rising" if rising else "falling"
    return f"{quantity} at {axis} {nearest[0]['at']:g}, {way} from gamma = 1 to 0: {verdict}. {numbers}."


def settings_record(**others: Any) -> dict[str, Any]:
    """The settings of an experiment, the four pairs among them."""
    pairs = [[s.gamma, s.alpha] for s in SETTINGS]
    return {"gamma_alpha": pairs, "activation": "relu", **others}
