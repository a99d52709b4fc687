"""What a page can report on, and the page of one or of many such things."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from widthwise.report.grid import Head, cell, grid
from widthwise.report.markup import Place, element, items, section, text
from widthwise.report.page import page

__all__ = ["Part", "page_of"]


class Part(ABC):
    """One thing a page reports on: a comparison, an experiment of a paper, a store of runs."""

    kind: str
    """What it is, in a word or two."""
    name: str
    """What the reader calls it."""
    finding: str
    """What was found, in a sentence."""
    size: int
    """How many rows of numbers it has."""
    footer: str = ""
    """HTML for the foot of the page."""

    @abstractmethod
    def brief(self, level: int) -> str:
        """HTML of the answer at a glance, its heading of a level."""

    @abstractmethod
    def sections(self, place: Place) -> list[str]:
        """HTML of the evidence, card by card; one of them has the key ``table``."""


def page_of(parts: Sequence[Part]) -> str:
    """One part as a page of its own; of several a page with an overview that leads to each.

    The same parts give the same page.
    """
    if len(parts) == 1:
        (only,) = parts
        main = "\n".join(only.sections(Place()))
        title = " · ".join(dict.fromkeys((only.finding, only.name, "widthwise")))
        return page(title, only.brief(1), main, only.footer, skip_to="table")
    feet = dict.fromkeys(part.footer for part in parts if part.footer)
    main = "\n".join((_overview(parts), *(_article(part, i) for i, part in enumerate(parts))))
    heading = f"{len(parts)} results"
    kinds = items(
        (text(f"{sum(p.kind == k for p in parts)} × {k}") for k in dict.fromkeys(p.kind for p in parts)), "why"
    )
    nav = element("ol", "".join(element("li", _link(part, i)) for i, part in enumerate(parts)))
    folded = element("details", element("summary", "Contents") + nav, class_="contents")
    brief = element("p", element("span", "widthwise"), class_="eyebrow") + element("h1", heading) + kinds
    return page(f"{heading} · widthwise", brief, main, "\n".join(feet), skip_to="overview", nav=folded)


def _overview(parts: Sequence[Part]) -> str:
    heads = (
        Head("Result", kind="name", order="none"),
        Head("Kind", kind="text"),
        Head("Found", kind="text"),
        Head("Rows", hint="of numbers", first="descending"),
    )
    rows = []
    for i, part in enumerate(parts):
        name = element("th", _link(part, i), scope="row", class_="name")
        rest = cell(part.kind, kind="text"), cell(part.finding, kind="text"), cell(f"{part.size:,}", part.size)
        rows.append(element("tr", name + "".join(rest)))
    place = Place("overview-")
    table = grid(place, heads, rows, label="overview-head", things="results", example="fig1, or rows>100")
    return section(Place(), "overview", "Overview", table)


def _article(part: Part, i: int) -> str:
    place = Place(f"part-{i}-", 3)
    head = element("header", part.brief(2))
    back = element("p", element("a", "Back to the overview", href="#overview"), class_="back")
    return element("article", head + "\n".join((*part.sections(place), back)), id=f"part-{i}", aria_label=part.name)


def _link(part: Part, i: int) -> str:
    return element("a", text(part.name), href=f"#part-{i}")
