"""A table that sorts, filters and turns its pages; whole without the script but for its later pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from widthwise.report.markup import Place, element, text

__all__ = ["PAGE", "Head", "cell", "grid"]

PAGE = 50  # rows shown at a time


@dataclass(frozen=True)
class Head:
    """The head of one column.

    Attributes:
        title: what stands in it.
        unit: a second line.
        hint: shown when the pointer rests on it.
        kind: ``"number"``, ``"text"``, or ``"name"`` for the column that names the rows, which stays in view.
        first: the order at the first press, ``"ascending"`` or ``"descending"``.
        order: the order in which the rows come, ``"none"`` if by another column.
    """

    title: str
    unit: str = ""
    hint: str | None = None
    kind: str = "number"
    first: str = "ascending"
    order: str = "none"


def cell(written: str, value: object = None, *, kind: str = "number", before: str = "", after: str = "") -> str:
    """One cell of a row.

    Args:
        written: plain text to show.
        value: sort key where it is not what is written; an empty text sorts last either way.
        kind: its column's, as in :class:`Head`.
        before: HTML in front of the text.
        after: HTML behind it.
    """
    content = f"{before}{text(written)}{after}"
    key = None if value is None or str(value) == written else value
    if kind == "number":
        return f"<td>{content}</td>" if key is None else f'<td data-value="{text(key)}">{content}</td>'
    scope = "row" if kind == "name" else None
    return element("th" if scope else "td", content, scope=scope, class_=kind, data_value=key)


def grid(
    place: Place,
    heads: Sequence[Head],
    rows: Sequence[str],
    *,
    label: str,
    things: str,
    hides: Mapping[str, str] | None = None,
    example: str = "",
) -> str:
    """A table with its controls, which only a script can make work and so brings to light.

    Args:
        place: where it stands.
        heads: one a column.
        rows: ``<tr>`` elements of :func:`cell`'s.
        label: id of its heading.
        things: what the rows are, in the plural.
        hides: for the class of some rows, what the box is called that hides them.
        example: of what to type into the filter: words that a row has, or ``column>value``.
    """
    head = element("thead", element("tr", "".join(map(_head, heads))))
    body = element("tbody", "\n".join(rows[:PAGE]))
    table = element("table", head + body, aria_labelledby=label)
    later = f"<template>{''.join(rows[PAGE:])}</template>" if len(rows) > PAGE else ""
    note = f"<noscript><p>Only the first {PAGE} of {len(rows):,} rows are shown without scripts.</p></noscript>"
    scroll = element("div", table, class_="scroll", role="region", tabindex=0, aria_labelledby=label)
    parts = _controls(hides or {}, example), scroll, later, note if later else "", _PAGES
    return element("div", "".join(parts), id=place.id("rows"), data_grid=things, data_page=PAGE)


_PAGES = (
    '<div class="pages" role="group" aria-label="Pages of the table" hidden><button type="button">Previous</button>'
    '<output aria-live="polite"></output><button type="button">Next</button></div>'
)


def _controls(hides: Mapping[str, str], example: str) -> str:
    find = f'<label>Find <input type="search" autocomplete="off" placeholder="{text(example)}"></label>'
    boxes = "".join(
        f'<label><input type="checkbox" data-hides="{text(kind)}"> {text(what)}</label>' for kind, what in hides.items()
    )
    return f'<div class="controls" hidden>{find}{boxes}<output class="muted" aria-live="polite"></output></div>'


def _head(head: Head) -> str:
    lines = "<br>".join(text(part) for part in (head.title, head.unit) if part)
    return element(
        "th",
        element("span", lines, class_="head"),
        scope="col",
        title=head.hint,
        class_=None if head.kind == "number" else head.kind,
        aria_sort=head.order,
        data_kind="number" if head.kind == "number" else "text",
        data_first=head.first,
        data_name=head.title.lower().replace(" ", ""),
    )
