"""Records of any columns as a table of the page and as files to download."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from widthwise.report.grid import Head, cell, grid
from widthwise.report.markup import Place, downloads, element, text
from widthwise.report.runs.values import fields, is_number, key, written
from widthwise.report.table import csv_text, plain

__all__ = ["records_table"]

Record = Mapping[str, Any]

_COLUMNS = 40  # more would make the page heavy; the files to download have all
_ROWS = 20_000


def records_table(
    place: Place, records: Sequence[Record], *, label: str, things: str, stem: str, largest: Sequence[str] = ()
) -> str:
    """Records as a table that sorts, filters and turns pages, and the same as CSV and JSON.

    A record need not have every column. Row ``i`` has the id ``row-i`` at its place.

    Args:
        place: where the table stands.
        records: by column.
        label: id of the table's heading.
        things: what the records are, in the plural.
        stem: of the names of the files to download.
        largest: columns of which the largest value is wanted first.
    """
    names = fields(records)
    shown = names[:_COLUMNS]
    numeric = {name for name in shown if all(_fits(record.get(name)) for record in records)}
    heads = [
        Head(
            name,
            kind="number" if name in numeric else "text",
            first="descending" if name in largest else "ascending",
        )
        for name in shown
    ]
    rows = [_row(place.id(f"row-{i}"), record, shown, numeric) for i, record in enumerate(records[:_ROWS])]
    example = f"{shown[0].lower().replace(' ', '')}>1" if shown and shown[0] in numeric else "words"
    table = grid(place, heads, rows, label=label, things=things, example=example)
    whole = [{name: _bare(record.get(name)) for name in names} for record in records]
    files = {f"{stem}.csv": csv_text(whole), f"{stem}.json": json.dumps(plain(list(map(dict, records))))}
    return table + _left_out(len(records), len(names), things) + downloads(files, f"the {things}")


def _fits(value: object) -> bool:
    return value is None or isinstance(value, bool) or is_number(value)


def _row(name: str, record: Record, columns: Sequence[str], numeric: set[str]) -> str:
    cells = "".join(
        cell(written(value), key(value)) if column in numeric else cell(written(value), kind="text")
        for column in columns
        for value in (record.get(column),)
    )
    return f'<tr id="{text(name)}">{cells}</tr>'


def _bare(value: object) -> object:
    """As a cell of CSV: lists of scalars are joined by the writer, what is deeper is JSON."""
    simple = isinstance(value, list) and all(isinstance(part, str | int | float | None) for part in value)
    return value if simple or not isinstance(value, list | Mapping) else json.dumps(value, default=str)


def _left_out(rows: int, columns: int, things: str) -> str:
    said = []
    if rows > _ROWS:
        said.append(f"the first {_ROWS:,} of {rows:,} {things}")
    if columns > _COLUMNS:
        said.append(f"the first {_COLUMNS} of {columns} columns")
    return element("p", text(f"Shown: {', '.join(said)}. The files hold all."), class_="muted") if said else ""
