"""The rows of a comparison as a table: on a terminal, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from widthwise.comparison import Comparison, Finding, Row
from widthwise.errors import check_type
from widthwise.report.summary import Metric, Summary, baseline, best, clean, compact, difference

__all__ = [
    "COLUMNS",
    "Column",
    "Record",
    "csv_text",
    "plain",
    "ranked",
    "rich_table",
    "rows_as_dicts",
    "seeds",
    "to_csv",
    "to_json",
]

Record = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column for people: which number it shows, under which heading, written how."""

    key: str
    heading: str
    short: str
    hint: str
    text: Callable[[Record, Metric], str]
    unit: Callable[[Metric], str] = lambda metric: ""
    numeric: bool = True


def _rank(record: Record, metric: Metric) -> str:
    if not record["within_budget"]:
        return "over"
    return "–" if record["rank"] is None else str(record["rank"])


def _result(record: Record, metric: Metric) -> str:
    lost, seeds = record["diverged"], record["seeds"]
    if record["mean"] is None:
        return "diverged" if lost else "–"
    note = f"\n{lost} of {seeds} diverged" if lost else ""
    return metric.pair(record["mean"], record["spread"]) + note


def _difference(record: Record, metric: Metric) -> str:
    return "–" if record["difference"] is None else metric.gap(record["difference"], unit=False)


COLUMNS = (
    Column("rank", "Rank", "rank", "by the mean validation metric, among networks within the budget", _rank),
    Column(
        "label",
        "Network",
        "network",
        "method and widening factor",
        lambda r, m: clean(r["label"]),
        numeric=False,
    ),
    Column("mean", "Test", "test", "mean ± standard deviation over seeds", _result, lambda m: m.unit or m.name),
    Column(
        "difference",
        "vs dense",
        "vs\ndense",
        "mean minus the mean of the dense baseline",
        _difference,
        lambda m: m.gap_unit,
    ),
    Column("width", "Width", "width", "hidden units", lambda r, m: f"{r['width']:,}"),
    Column(
        "weights",
        "Weights",
        "weights",
        "weights that live, biases not counted",
        lambda r, m: f"{r['weights']:,}",
    ),
    Column(
        "connectivity",
        "Connectivity",
        "alive",
        "live weights over all weights of that shape",
        lambda r, m: f"{100 * r['connectivity']:.3g}",
        lambda m: "%",
    ),
    Column(
        "predicted",
        "Predicted distance",
        "formula\n(4)",
        "kernel distance by formula (4), before training",
        lambda r, m: compact(r["predicted"]),
    ),
    Column(
        "measured",
        "Measured distance",
        "measured",
        "kernel distance measured at initialization, relative",
        lambda r, m: compact(r["measured"]),
    ),
)


def ranked(comparison: Comparison) -> list[Row]:
    """The rows as a reader wants them: by rank, then what has none, then what is over the budget."""
    return sorted(comparison.rows, key=lambda r: (not r.within_budget, r.rank is None, r.rank or 0))


def rows_as_dicts(comparison: Comparison) -> list[Record]:
    """The rows in order of rank, at full precision, over-budget rows last.

    Returns:
        One dictionary a row. ``mean``, ``spread`` and ``difference`` (to the baseline) leave diverged seeds
        out and are ``None`` where nothing is left; ``test`` and ``validation`` hold every seed.

    Raises:
        InputTypeError: if ``comparison`` is none.
    """
    reference = baseline(check_type("comparison", comparison, Comparison))
    return [_record(row, reference) for row in ranked(comparison)]


def _record(row: Row, reference: Row | None) -> Record:
    summary = Summary.of(row)
    return {
        "rank": row.rank,
        "label": row.label,
        "method": row.method,
        "factor": row.factor,
        "width": row.width,
        "weights": row.weights,
        "connectivity": row.connectivity,
        "within_budget": row.within_budget,
        "mean": summary.mean,
        "spread": summary.spread,
        "difference": difference(row, reference),
        "seeds": max(len(row.test), len(row.validation)),
        "diverged": summary.diverged,
        "predicted": row.predicted,
        "measured": row.measured,
        "test": list(row.test),
        "validation": list(row.validation),
        "layer_connectivity": list(row.layer_connectivity),
        "notes": list(row.notes),
    }


def rich_table(comparison: Comparison) -> Table:
    """The table for a terminal; it fits 80 columns for the default run.

    The best row is bold; below a line, dim, stand the dense nets that are over the budget.
    """
    records, metric = rows_as_dicts(comparison), Metric.of(comparison)
    title = f"{clean(comparison.data)}: {comparison.budget:,} weights, {seeds(comparison)}"
    table = Table(
        title=Text(title), caption=Text(_caption(comparison)), box=box.SIMPLE_HEAD, padding=0, show_edge=False
    )
    for column in COLUMNS:
        heading = Text("\n".join(filter(None, (column.short, column.unit(metric)))))
        if column.numeric:
            table.add_column(heading, justify="right")
        else:
            table.add_column(heading, no_wrap=True, max_width=20)
    winner = best(comparison)
    for i, (record, row) in enumerate(zip(records, ranked(comparison), strict=True)):
        if i and records[i - 1]["within_budget"] and not row.within_budget:
            table.add_section()
        style = "bold green" if row is winner else "" if row.within_budget else "dim"
        table.add_row(*(Text(c.text(record, metric)) for c in COLUMNS), style=style)
    return table


def seeds(comparison: Comparison) -> str:
    """How many seeds, in words.

    >>> seeds(Comparison("digits", "classification", "accuracy", 222, ()))
    'no seeds'
    """
    count = max((len(r.test) for r in comparison.rows), default=0)
    return "no seeds" if count == 0 else "1 seed" if count == 1 else f"{count} seeds"


def _caption(comparison: Comparison) -> str:
    several = any(Summary.of(r).spread is not None for r in comparison.rows)
    over = any(not r.within_budget for r in comparison.rows)
    lines = ["mean ± standard deviation over seeds"] if several else []
    return "\n".join([*lines, *(["over: dense networks with more weights than the budget"] if over else [])])


def to_csv(comparison: Comparison) -> str:
    """The rows as CSV with a header; values of several seeds or layers are joined by semicolons."""
    return csv_text(rows_as_dicts(comparison))


def csv_text(records: Iterable[Mapping[str, Any]]) -> str:
    r"""Dictionaries of equal keys as CSV; half characters, which a file name may hold and a file cannot, become ``?``.

    >>> csv_text([{"width": 3, "test": [0.5, float("nan")], "rank": None}])
    'width,test,rank\n3,0.5;nan,\n'
    """
    rows = list(records)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: ";".join(map(str, v)) if isinstance(v, list) else v for k, v in r.items()} for r in rows)
    return out.getvalue().encode(errors="replace").decode()


def to_json(comparison: Comparison) -> str:
    """The whole comparison as strict JSON: NaN and infinity, which JSON does not know, become ``null``."""
    rows = rows_as_dicts(comparison)
    for record, row in zip(rows, ranked(comparison), strict=True):
        record["curve"] = [list(point) for point in row.curve]
    fields = ("data", "task", "metric", "budget", "seconds", "findings", "settings", "machine")
    whole = {name: getattr(comparison, name) for name in fields}
    ours = [f if isinstance(f, Finding) else Finding(f) for f in comparison.findings]
    whole["evidence"] = [{"plot": finding.evidence, "rows": finding.rows} for finding in ours]
    return json.dumps(plain(whole | {"rows": rows}), indent=2, allow_nan=False)


def plain(value: object) -> object:
    """``value`` in JSON's own types; whatever JSON lacks becomes text.

    >>> plain({"lr": float("nan"), "factors": (2, 4), "kinds": {"b", "a"}})
    {'lr': None, 'factors': [2, 4], 'kinds': ['a', 'b']}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(v) for v in value), key=str)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
