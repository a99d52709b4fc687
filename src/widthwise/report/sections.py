"""The sections of the page: a plot with the claims it bears out, the table, the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from widthwise.comparison import Comparison, Row
from widthwise.report.gallery import Exhibit
from widthwise.report.markup import download, element, items, text
from widthwise.report.style import Style, styles
from widthwise.report.summary import Metric, Summary, best
from widthwise.report.svg import inline_svg
from widthwise.report.table import COLUMNS, Column, Record, csv_text, plain, ranked, rows_as_dicts, to_csv, to_json
from widthwise.report.verdict import Claim

__all__ = ["exhibit_section", "settings_section", "table_section"]

_WIDTHS = {"wide": 660, "narrow": 344}  # CSS pixels of a plot on a desk and on a phone
_LARGEST_FIRST = ("mean", "difference", "weights", "connectivity")


def exhibit_section(comparison: Comparison, exhibit: Exhibit, claims: Sequence[Claim]) -> str:
    """A plot, twice for two sizes of screen, beside the claims that it bears out, how to read it, and its numbers."""
    drawings = "".join(
        element("div", _drawing(comparison, exhibit, kind, width), class_=kind) for kind, width in _WIDTHS.items()
    )
    numbers = {"csv": csv_text(exhibit.numbers), "json": json.dumps(plain(exhibit.numbers))}
    said = items((_claim(comparison, claim) for claim in claims), "claims")
    words = said + element("p", text(exhibit.caption)) + _downloads(comparison, exhibit.key, numbers)
    figure = element("div", drawings) + element("figcaption", words)
    return _section(exhibit.key, exhibit.title, element("figure", figure))


def table_section(comparison: Comparison) -> str:
    """Every row, the best one emphasised, those over the budget set apart; the script sorts and filters it."""
    metric, look, ids, winner = Metric.of(comparison), styles(comparison), _ids(comparison), best(comparison)
    body = []
    for record, row in zip(rows_as_dicts(comparison), ranked(comparison), strict=True):
        cells = "".join(_cell(column, record, row, look[row.method], metric) for column in COLUMNS)
        kind = "best" if row is winner else None if row.within_budget else "over"
        body.append(element("tr", cells, id=ids[id(row)], class_=kind))
    head = element("thead", element("tr", "".join(_head(column, metric) for column in COLUMNS)))
    table = element("table", head + element("tbody", "\n".join(body)), id="rows", aria_labelledby="table-head")
    scroll = element("div", table, class_="scroll", role="region", tabindex=0, aria_labelledby="table-head")
    over = sum(not row.within_budget for row in comparison.rows)
    note = "“over”: a dense network with more weights than the budget, for comparison only." if over else ""
    numbers = {"csv": to_csv(comparison), "json": to_json(comparison)}
    rest = element("p", text(note), class_="muted") if note else ""
    return _section("table", "Every network", _CONTROLS + scroll + rest + _downloads(comparison, "table", numbers))


def settings_section(comparison: Comparison) -> str:
    """What the run was made with, folded away."""
    minutes, seconds = divmod(round(comparison.seconds), 60)
    run = {"data": comparison.data, "task": comparison.task, "metric": comparison.metric, "budget": comparison.budget}
    run |= {"training time": f"{minutes} min {seconds} s" if minutes else f"{seconds} s"}
    tables = _pairs("Settings", {**run, **comparison.settings}) + _pairs("Machine", comparison.machine)
    summary = element("summary", element("h2", "Settings and machine", id="settings-head"))
    folded = element("details", summary + element("div", tables, class_="columns"))
    return element("section", folded, id="settings", aria_labelledby="settings-head")


_CONTROLS = (
    '<div class="controls" hidden><label>Find <input type="search" id="search" autocomplete="off" '
    'placeholder="for example sparse x4"></label><label><input type="checkbox" id="within"> within the budget only'
    '</label><output id="shown" class="muted" aria-live="polite"></output></div>'
)


def _section(key: str, title: str, content: str) -> str:
    head = element("h2", text(title), id=f"{key}-head")
    return element("section", head + content, id=key, aria_labelledby=f"{key}-head")


def _drawing(comparison: Comparison, exhibit: Exhibit, kind: str, width: int) -> str:
    chart = exhibit.draw(comparison, width)
    description = f"{exhibit.caption} The numbers can be downloaded beside the plot."
    return inline_svg(chart, f"{exhibit.key}-{kind}", exhibit.title, description, chart.tips)


def _downloads(comparison: Comparison, key: str, numbers: Mapping[str, str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9]+", "-", comparison.data).strip("-")[:40] or "comparison"
    links = (
        download(f"{stem}-{key}.{ending}", content, f"the numbers of {key}") for ending, content in numbers.items()
    )
    return element("p", "Numbers" + "".join(links), class_="downloads")


def _claim(comparison: Comparison, claim: Claim) -> str:
    """The claim and, under it, the results of the rows it names, linked to the table."""
    metric, ids = Metric.of(comparison), _ids(comparison)
    evidence = []
    for row in claim.rows:
        link = element("a", text(row.label), href=f"#{ids[id(row)]}")
        evidence.append(element("dt", link) + element("dd", text(Summary.of(row).written(metric))))
    return element("p", text(claim.text)) + (element("dl", "".join(evidence), class_="rows") if evidence else "")


def _ids(comparison: Comparison) -> dict[int, str]:
    """An id in the page for each row, by identity: rows may be equal."""
    return {id(row): f"row-{i}" for i, row in enumerate(comparison.rows)}


def _head(column: Column, metric: Metric) -> str:
    lines = "<br>".join(text(part) for part in (column.heading, column.unit(metric)) if part)
    return element(
        "th",
        element("span", lines, class_="head"),
        scope="col",
        title=column.hint,
        class_=None if column.numeric else "name",
        aria_sort="ascending" if column.key == "rank" else "none",
        data_kind="number" if column.numeric else "text",
        data_first="descending" if column.key in _LARGEST_FIRST else "ascending",
    )


def _cell(column: Column, record: Record, row: Row, style: Style, metric: Metric) -> str:
    raw, written = record[column.key], text(column.text(record, metric))
    value = "" if raw is None else raw
    if column.numeric:
        return element("td", written, data_value=value)
    swatch = element("span", class_="swatch", style=f"background:var(--{style.variable})")
    notes = "".join(element("span", text(note), class_="note") for note in row.notes)
    return element("th", swatch + written + notes, scope="row", class_="name", data_value=value)


def _pairs(caption: str, values: Mapping[str, object]) -> str:
    rows = (
        element("tr", element("th", text(name), scope="row") + element("td", text(_setting(value))))
        for name, value in values.items()
    )
    return element("table", element("caption", caption) + "".join(rows), class_="settings") if values else ""


def _setting(value: object) -> str:
    simple = plain(value)
    if isinstance(simple, list) and all(isinstance(v, str | int | float) for v in simple):
        return ", ".join(map(str, simple))
    return simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)
