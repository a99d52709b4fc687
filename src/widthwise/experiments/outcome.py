"""What an experiment gives: plain rows, figures, and the record of how they were made."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from widthwise._atomic import atomic_path, write_text
from widthwise.environment import machine

__all__ = ["SCALES", "Outcome", "Row", "paths_of", "record_of", "write"]

SCALES = ("smoke", "small", "paper")
Row = Mapping[str, Any]
_DIGITS = 6


@dataclass(frozen=True)
class Outcome:
    """The result of one experiment.

    Attributes:
        name: which experiment, such as ``"fig3"``.
        scale: one of :data:`SCALES`.
        settings: everything that was chosen: sizes, seeds, learning rate, data.
        rows: measurements, all with the same keys, their values numbers, strings, truths or ``None``.
        figure: the drawing of it.
        notes: what a reader should know, one sentence each.
    """

    name: str
    scale: str
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    figure: Figure
    notes: Sequence[str] = field(default=())


def record_of(outcome: Outcome, command: str) -> dict[str, Any]:
    """What the JSON file holds: the command, the settings, the machine, the notes and the rows.

    Numbers have six significant digits; what is not finite is ``None``.

    Args:
        outcome: what to write.
        command: what made it, to be run again.
    """
    return {
        "experiment": outcome.name,
        "scale": outcome.scale,
        "command": command,
        "settings": {key: _plain(value) for key, value in outcome.settings.items()},
        "machine": machine(),
        "notes": list(outcome.notes),
        "rows": [{key: _plain(value) for key, value in row.items()} for row in outcome.rows],
    }


def write(record: Mapping[str, Any], figure: Figure, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``name-scale.json``, ``.csv`` of the rows alone, and ``.svg`` into a folder, made if it does not exist.

    Args:
        record: as of :func:`record_of`.
        figure: the drawing.
        folder: where to.

    Returns:
        The paths written.

    Raises:
        OSError: if the folder cannot be written.
    """
    paths = paths_of(folder, record["experiment"], record["scale"])
    write_text(paths[1], _csv(record["rows"]))
    with atomic_path(paths[2]) as part, mpl.rc_context({"svg.hashsalt": "widthwise", "svg.fonttype": "none"}):
        figure.savefig(part, format="svg", metadata={"Date": None})
    write_text(paths[0], _json(record))  # the last, since it says which command all three are of
    return paths


def paths_of(folder: str | os.PathLike[str], name: str, scale: str) -> list[Path]:
    """Where an experiment's numbers as JSON, its table and its drawing lie."""
    return [Path(folder) / f"{name}-{scale}.{kind}" for kind in ("json", "csv", "svg")]


def _json(record: Mapping[str, Any]) -> str:
    """JSON with a line a row."""
    rows = ",\n    ".join(json.dumps(row) for row in record["rows"])
    head = json.dumps({key: value for key, value in record.items() if key != "rows"}, indent=2)
    return f'{head[:-2]},\n  "rows": [\n    {rows}\n  ]\n}}\n'


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value
