"""A plot and the words beside it."""

from __future__ import annotations

from collections.abc import Callable

from widthwise.report.chart import Chart
from widthwise.report.markup import element
from widthwise.report.svg import inline_svg

__all__ = ["drawn", "figure"]

_WIDTHS = {"wide": 660, "narrow": 344}  # CSS pixels of a plot on a desk and on a phone


def drawn(draw: Callable[[int], Chart], key: str, title: str, description: str) -> str:
    """A plot twice, for two sizes of screen, of which the style shows one.

    Args:
        draw: the plot, so many CSS pixels wide.
        key: before the ids of both.
        title: their accessible name.
        description: their accessible description.
    """
    drawings = []
    for kind, width in _WIDTHS.items():
        chart = draw(width)
        drawings.append(element("div", inline_svg(chart, f"{key}-{kind}", title, description, chart.tips), class_=kind))
    return "".join(drawings)


def figure(plot: str, words: str) -> str:
    """HTML of a plot beside HTML of what it shows; a script lets the plot be enlarged."""
    return element("figure", element("div", plot, class_="plot") + element("figcaption", words))
