"""What the experiments share: the paper's four settings, one network a part, bands over seeds, their look."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from widthwise.experiments.outcome import Row
from widthwise.experiments.parts import in_parts
from widthwise.models import Shallow
from widthwise.report.style import LIGHT
from widthwise.scaling import zipf

__all__ = [
    "SETTINGS",
    "Curves",
    "Part",
    "Setting",
    "draw_bands",
    "log_height",
    "measure",
    "network",
    "settings_record",
    "spaced",
]


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


SETTINGS = (
    Setting(1.0, None, LIGHT["series-0"]),
    Setting(0.5, 0.7, LIGHT["series-1"]),
    Setting(0.2, 0.5, LIGHT["series-3"]),
    Setting(0.0, 0.4, LIGHT["series-2"]),
)
"""From the kernel regime to the most asymmetrical: the order expected of what is learned of features."""


@dataclass(frozen=True)
class Part:
    """One network to train, and all that its numbers depend on."""

    figure: str
    scale: str
    data: str | None
    gamma: float
    alpha: float | None
    seed: int


_NAMED = 6
Measured = Mapping[str, list[float]]


@dataclass(frozen=True, eq=False)
class Curves:
    """Quantities along one axis: name -> ``(settings, seeds, places)`` float64."""

    axis: str
    places: Sequence[float]
    values: Mapping[str, Tensor]
    settings: Sequence[Setting] = SETTINGS

    def rows(self) -> list[Row]:
        """Mean, least and most over seeds."""
        rows: list[Row] = []
        for name, values in self.values.items():
            for setting, runs in zip(self.settings, values, strict=True):
                for place, found in zip(self.places, runs.unbind(1), strict=True):
                    key = {"gamma": setting.gamma, "alpha": setting.alpha, "axis": self.axis, "at": float(place)}
                    band = {"mean": float(found.mean()), "least": float(found.min()), "most": float(found.max())}
                    rows.append({**key, "quantity": name, **band})
        return rows

    def order(self, quantity: str, at: float, *, rising: bool) -> str:
        """A sentence on whether a quantity has the order expected of the settings, at the place nearest to ``at``.

        Settings are compared seed by seed, since a seed gives all of them the same data, weights and signs.
        """
        place = min(range(len(self.places)), key=lambda i: abs(self.places[i] - at))
        found = self.values[quantity][:, :, place]
        means = found.mean(1).tolist()
        fits = found.diff(dim=0) > 0 if rising else found.diff(dim=0) < 0
        on_average = all(a < b if rising else a > b for a, b in itertools.pairwise(means))
        pairs = ", ".join(f"{int(pair.sum())}" for pair in fits)
        verdict = "as expected" if on_average else "NOT the expected order"
        numbers = ", ".join(f"{s.label}: {value:.4g}" for s, value in zip(self.settings, means, strict=True))
        way = f"{'rising' if rising else 'falling'} from gamma = {self.settings[0].gamma:g}"
        return (
            f"{quantity} at {self.axis} {self.places[place]:g}, {way}: {verdict} (neighbours in order in {pairs} of "
            f"{found.shape[1]} seeds). {numbers}."
        )


def measure(
    part: Part, seeds: Sequence[int], run: Callable[[Part], Measured], settings: Sequence[Setting] = SETTINGS
) -> dict[str, Tensor]:
    """Run every setting and seed; quantity -> ``(settings, seeds, places)`` float64.

    Args:
        part: its figure, scale and data are those of all.
        seeds: which.
        run: what measures one.
        settings: which.
    """
    parts = [Part(part.figure, part.scale, part.data, s.gamma, s.alpha, seed) for s in settings for seed in seeds]
    found = in_parts(part.figure, parts, run)
    stacked = {name: torch.tensor([each[name] for each in found], dtype=torch.float64) for name in found[0]}
    return {name: values.view(len(settings), len(seeds), -1) for name, values in stacked.items()}


def network(part: Part, d: int, width: int, *, outputs: int = 1, init_variance: float = 1.0) -> Shallow:
    """The network of a part; a seed gives all settings the same weights and signs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(part.seed)
        return Shallow(d, zipf(width, part.alpha, part.gamma), outputs, "relu", init_variance)


def draw_bands(
    panel: Axes,
    rows: Sequence[Row],
    axis: str,
    quantity: str,
    *,
    theory: str | None = None,
    settings: Sequence[Setting] = SETTINGS,
) -> None:
    """A line and a band for each setting on a logarithmic axis, and the theory's line dotted."""
    for setting in settings:
        mine = _line(rows, setting, axis, quantity)
        places = [row["at"] for row in mine]
        panel.plot(places, [row["mean"] for row in mine], color=setting.colour, label=setting.label, linewidth=1.5)
        low, high = ([row[end] for row in mine] for end in ("least", "most"))
        panel.fill_between(places, low, high, color=setting.colour, alpha=0.2, linewidth=0)
        if theory is not None:
            bound = [row["mean"] for row in _line(rows, setting, axis, theory)]
            panel.plot(places, bound, ":", color=setting.colour, linewidth=1.2)
    panel.set_xscale("log")
    if len(places) <= _NAMED:  # so few that each can be named
        panel.set_xticks(places, [f"{place:g}" for place in places])
        panel.minorticks_off()


def log_height(panel: Axes) -> None:
    """A logarithmic vertical axis; plain numbers where it spans less than two decades."""
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.yaxis.set_minor_formatter(NullFormatter())
    if high < 100 * low:
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")


def _line(rows: Sequence[Row], setting: Setting, axis: str, quantity: str) -> list[Row]:
    """The rows of one curve, but for place zero, which a logarithm has not."""
    wanted = (setting.gamma, setting.alpha, axis, quantity)
    return [r for r in rows if (r["gamma"], r["alpha"], r["axis"], r["quantity"]) == wanted and r["at"] > 0]


def spaced(end: float, count: int, decades: float) -> list[float]:
    """Zero, and times spaced geometrically over so many decades up to the end, which is the last exactly."""
    times = torch.logspace(-decades, 0, count, dtype=torch.float64).mul(end).tolist()
    return [0.0, *times[:-1], end]


def settings_record(settings: Sequence[Setting] = SETTINGS, **others: Any) -> dict[str, Any]:
    """The settings of an experiment, the pairs of gamma and alpha among them."""
    return {"gamma_alpha": [[s.gamma, s.alpha] for s in settings], "activation": "relu", **others}
