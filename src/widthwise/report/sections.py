"""The parts of a report on one comparison: plots with the claims they bear out, the table, the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from widthwise.comparison import Comparison, Row
from widthwise.report.figure import drawn, figure
from widthwise.report.gallery import Exhibit, gallery
from widthwise.report.grid import Head, cell, grid
from widthwise.report.markup import Place, definitions, downloads, element, items, section, text
from widthwise.report.style import Style, styles
from widthwise.report.summary import Metric, Summary, best
from widthwise.report.table import (
    COLUMNS,
    Column,
    Record,
    csv_text,
    plain,
    ranked,
    rows_as_dicts,
    seeds,
    to_csv,
    to_json,
)
from widthwise.report.verdict import Answer, Claim, claims

__all__ = ["FOOTER", "answer_in_brief", "comparison_sections", "folded", "settings_table"]

_LARGEST_FIRST = ("mean", "difference", "weights", "connectivity")


FOOTER = (
    "Results are means over seeds on a test set that the ranking never saw, ± one standard deviation. Networks are "
    "ranked by their mean on the validation set. Weights are counted without biases. Formula (4) is that of "
    "<cite>Are wider nets better given the same number of parameters?</cite> (Golubeva, Neyshabur, Gur-Ari, 2021)."
)


def answer_in_brief(comparison: Comparison, found: Answer, level: int = 1) -> str:
    """The answer with its numbers and its reasons, under a heading of a level."""
    facts = ("widthwise", comparison.data, f"{comparison.budget:,} weights", seeds(comparison), comparison.task)
    numbers = definitions(((text(name), text(value)) for name, value in found.numbers), "numbers")
    return "\n".join(
        (
            element("p", "".join(element("span", text(fact)) for fact in facts), class_="eyebrow"),
            element(f"h{level}", text(found.headline)),
            element("p", text(found.lead), class_="lead"),
            numbers if found.numbers else "",
            items(map(text, found.why), "why"),
        )
    )


def comparison_sections(comparison: Comparison, place: Place) -> list[str]:
    """One section a plot with the claims it bears out, then the table, then the settings."""
    exhibits, said = gallery(comparison), claims(comparison)
    keys = [exhibit.key for exhibit in exhibits]
    homes = [claim.plot if claim.plot in keys else keys[0] for claim in said]
    shown = [
        _exhibit(comparison, exhibit, [c for c, key in zip(said, homes, strict=True) if key == exhibit.key], place)
        for exhibit in exhibits
    ]
    return [*shown, _table(comparison, place), _settings(comparison, place)]


def _exhibit(comparison: Comparison, exhibit: Exhibit, said: Sequence[Claim], place: Place) -> str:
    """A plot beside the claims that it bears out, how to read it, and its numbers."""
    description = f"{exhibit.caption} The numbers can be downloaded beside the plot."
    plot = drawn(lambda width: exhibit.draw(comparison, width), place.id(exhibit.key), exhibit.title, description)
    numbers = {"csv": csv_text(exhibit.numbers), "json": json.dumps(plain(exhibit.numbers))}
    beside = items((_claim(comparison, claim, place) for claim in said), "claims")
    words = beside + element("p", text(exhibit.caption)) + _downloads(comparison, exhibit.key, numbers)
    return section(place, exhibit.key, exhibit.title, figure(plot, words))


def _table(comparison: Comparison, place: Place) -> str:
    """Every row, the best one emphasised, those over the budget set apart."""
    metric, look, ids, winner = Metric.of(comparison), styles(comparison), _ids(comparison, place), best(comparison)
    rows = []
    for record, row in zip(rows_as_dicts(comparison), ranked(comparison), strict=True):
        cells = "".join(_cell(column, record, row, look[row.method], metric) for column in COLUMNS)
        kind = "best" if row is winner else None if row.within_budget else "over"
        rows.append(element("tr", cells, id=ids[id(row)], class_=kind))
    over = any(not row.within_budget for row in comparison.rows)
    table = grid(
        place,
        [_head(column, metric) for column in COLUMNS],
        rows,
        label=place.id("table-head"),
        things="networks",
        hides={"over": "within the budget only"} if over else {},
        example="sparse x4, or width>24",
    )
    note = element(
        "p", "“over”: a dense network with more weights than the budget, for comparison only.", class_="muted"
    )
    numbers = {"csv": to_csv(comparison), "json": to_json(comparison)}
    return section(
        place, "table", "Every network", table + (note if over else "") + _downloads(comparison, "table", numbers)
    )


def _settings(comparison: Comparison, place: Place) -> str:
    """What the run was made with, folded away."""
    minutes, seconds = divmod(round(comparison.seconds), 60)
    run = {"data": comparison.data, "task": comparison.task, "metric": comparison.metric, "budget": comparison.budget}
    run |= {"training time": f"{minutes} min {seconds} s" if minutes else f"{seconds} s"}
    tables = settings_table("Settings", {**run, **comparison.settings}) + settings_table("Machine", comparison.machine)
    return folded(place, "settings", "Settings and machine", tables)


def folded(place: Place, key: str, title: str, content: str) -> str:
    """A card that is closed at first, its content in columns."""
    head = element("summary", element(f"h{place.level}", text(title), id=place.id(f"{key}-head")))
    details = element("details", head + element("div", content, class_="columns"))
    return element("section", details, id=place.id(key), class_="card", aria_labelledby=place.id(f"{key}-head"))


def _downloads(comparison: Comparison, key: str, numbers: Mapping[str, str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9]+", "-", comparison.data).strip("-")[:40] or "comparison"
    files = {f"{stem}-{key}.{ending}": content for ending, content in numbers.items()}
    return downloads(files, f"the numbers of {key}")


def _claim(comparison: Comparison, claim: Claim, place: Place) -> str:
    """The claim and, under it, the results of the rows it names, linked to the table."""
    metric, ids = Metric.of(comparison), _ids(comparison, place)
    evidence = []
    for row in claim.rows:
        link = element("a", text(row.label), href=f"#{ids[id(row)]}")
        evidence.append(element("dt", link) + element("dd", text(Summary.of(row).written(metric))))
    return element("p", text(claim.text)) + (element("dl", "".join(evidence), class_="rows") if evidence else "")


def _ids(comparison: Comparison, place: Place) -> dict[int, str]:
    """An id in the page for each row, by identity: rows may be equal."""
    return {id(row): place.id(f"row-{i}") for i, row in enumerate(ranked(comparison))}


def _head(column: Column, metric: Metric) -> Head:
    return Head(
        column.heading,
        column.unit(metric),
        column.hint,
        kind="number" if column.numeric else "name",
        first="descending" if column.key in _LARGEST_FIRST else "ascending",
        order="ascending" if column.key == "rank" else "none",
    )


def _cell(column: Column, record: Record, row: Row, style: Style, metric: Metric) -> str:
    value = "" if record[column.key] is None else record[column.key]
    if column.numeric:
        return cell(column.text(record, metric), value)
    swatch = element("span", class_="swatch", style=f"background:var(--{style.variable})")
    notes = "".join(element("span", text(note), class_="note") for note in row.notes)
    return cell(column.text(record, metric), kind="name", before=swatch, after=notes)


def settings_table(caption: str, values: Mapping[str, object]) -> str:
    """Names and values under a caption; nothing where there are none."""
    rows = (
        element("tr", element("th", text(name), scope="row") + element("td", text(_setting(value))))
        for name, value in values.items()
    )
    return element("table", element("caption", text(caption)) + "".join(rows), class_="settings") if values else ""


def _setting(value: object) -> str:
    simple = plain(value)
    if isinstance(simple, list) and all(isinstance(v, str | int | float) for v in simple):
        return ", ".join(map(str, simple))
    return simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False)
