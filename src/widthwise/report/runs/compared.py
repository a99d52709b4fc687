"""A comparison read back from the file that ``widthwise compare`` leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from widthwise._jsonfile import read_json
from widthwise.comparison import Comparison, Finding, Row
from widthwise.errors import DataError
from widthwise.report.runs.reading import mapping_in
from widthwise.report.runs.values import is_number

__all__ = ["is_comparison", "read_comparison"]


def is_comparison(record: Mapping[str, Any]) -> bool:
    """Whether a record from a JSON file is one of a comparison."""
    return {"budget", "metric", "rows"} <= record.keys()


def read_comparison(path: Path) -> Comparison:
    """The comparison in ``results.json``, all but its model.

    Raises:
        DataError: if the file does not hold a comparison with rows.
        OSError: if it cannot be read.
    """
    record = read_json(path)
    try:
        rows = tuple(_row(row) for row in record["rows"])
        found = Comparison(
            data=str(record["data"]),
            task=str(record["task"]),
            metric=str(record["metric"]),
            budget=int(record["budget"]),
            rows=rows,
            findings=tuple(_findings(record)),
            settings=mapping_in(record, "settings"),
            machine=mapping_in(record, "machine"),
            seconds=float(record.get("seconds", 0.0)),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DataError(
            f"{path}: not a comparison that widthwise wrote ({error!r}); run the comparison again"
        ) from error
    if not rows:
        raise DataError(f"{path}: a comparison without rows; run the comparison again")
    return found


def _findings(record: Mapping[str, Any]) -> Iterator[Finding]:
    """The sentences with their evidence, which older files do not hold."""
    said = record.get("findings", ())
    for text, evidence in zip(said, record.get("evidence") or [{}] * len(said), strict=True):
        yield Finding(str(text), str(evidence.get("plot", "accuracy")), map(str, evidence.get("rows", ())))


def _row(row: Mapping[str, Any]) -> Row:
    return Row(
        method=str(row["method"]),
        factor=_number(row["factor"]),
        width=int(row["width"]),
        weights=int(row["weights"]),
        connectivity=_number(row["connectivity"]),
        layer_connectivity=_numbers(row["layer_connectivity"]),
        within_budget=bool(row["within_budget"]),
        test=_numbers(row["test"]),
        validation=_numbers(row["validation"]),
        predicted=_optional(row.get("predicted")),
        measured=_optional(row.get("measured")),
        rank=None if row.get("rank") is None else int(row["rank"]),
        curve=tuple((int(epoch), _number(value)) for epoch, value in row.get("curve", ())),
        notes=tuple(map(str, row.get("notes", ()))),
    )


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(map(_number, values))


def _number(value: Any) -> float:
    """JSON has no NaN and no infinity: a diverged value is stored as null."""
    if value is not None and not is_number(value):
        raise TypeError(f"{value!r} is no number")
    found: float = math.nan if value is None else value
    return found


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)
