"""Colours and marks of the plots: told apart by colour-blind eyes, in light and in dark, and in grey print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from widthwise.comparison import Comparison

__all__ = ["DARK", "FAINT", "GRID", "INK", "LIGHT", "MUTED", "RC", "SURFACE", "Style", "css_variables", "styles"]

# One place for every colour: name -> (light, dark). Plots are drawn in the light ones, and in the page each
# becomes a CSS variable of that name, so they must all differ.
_COLOURS = {
    "ink": ("#16191d", "#e8ebef"),
    "muted": ("#5b6470", "#a2acb8"),
    "faint": ("#aab2bc", "#57606b"),
    "grid": ("#e3e6ea", "#2b323a"),
    "surface": ("#ffffff", "#171b21"),
    "page": ("#f5f6f8", "#0e1115"),
    "best": ("#edf2fe", "#1d2a42"),
    "series-0": ("#4a525c", "#98a3b0"),
    "series-1": ("#1746c8", "#4f9dff"),
    "series-2": ("#cc4e00", "#ff8a3d"),
    "series-3": ("#0a8574", "#6aeac0"),
    "series-4": ("#9a1a8e", "#ff8ad0"),
    "series-5": ("#4d2600", "#f7e98f"),
}
LIGHT = {name: pair[0] for name, pair in _COLOURS.items()}
DARK = {name: pair[1] for name, pair in _COLOURS.items()}
INK, MUTED, FAINT, GRID, SURFACE = (LIGHT[n] for n in ("ink", "muted", "faint", "grid", "surface"))

_MARKERS = "soD^Pv"
_KNOWN = ("dense", "sparse", "magnitude", "snip")

RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "figure.facecolor": SURFACE,
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 12,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "lines.linewidth": 2,
    "svg.fonttype": "none",
    "svg.hashsalt": "widthwise",
    "text.color": INK,
    "text.parse_math": False,  # names come from users: a dollar is a dollar
    "xtick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Style:
    """How one method is drawn; ``named`` is false for methods too many to tell apart."""

    colour: str
    marker: str
    dashed: bool = False
    named: bool = True

    @property
    def variable(self) -> str:
        """The name of the colour's CSS variable, without its dashes in front."""
        return next(name for name, colour in LIGHT.items() if colour == self.colour)


def styles(comparison: Comparison) -> dict[str, Style]:
    """A style a method: the usual four always alike, then the best others, then grey for the rest."""
    methods = {row.method for row in comparison.rows}
    place: dict[str, int] = {}
    for row in comparison.rows:
        if row.rank is not None:
            place[row.method] = min(row.rank, place.get(row.method, row.rank))
    usual = [m for m in _KNOWN if m in methods]
    last = len(comparison.rows) + 1
    others = sorted(methods.difference(_KNOWN), key=lambda m: (place.get(m, last), m))
    free = [i for i in range(len(_MARKERS)) if i >= len(_KNOWN) or _KNOWN[i] not in methods]
    slots = {m: _KNOWN.index(m) for m in usual} | dict(zip(others, free, strict=False))
    return {m: _style(m, slots.get(m)) for m in (*usual, *others)}


def _style(method: str, slot: int | None) -> Style:
    if slot is None:
        return Style(FAINT, "", named=False)
    return Style(LIGHT[f"series-{slot}"], _MARKERS[slot], dashed=method == "dense")


def css_variables(dark: bool = False) -> str:
    """The colours as CSS declarations.

    >>> css_variables().split(";")[0]
    '--ink:#16191d'
    """
    return "".join(f"--{name}:{pair[dark]};" for name, pair in _COLOURS.items())
