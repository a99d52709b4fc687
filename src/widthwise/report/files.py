"""A comparison as a folder of files: the page, the rows, the plots."""

from __future__ import annotations

import os
from pathlib import Path

from widthwise._atomic import atomic_path, write_text
from widthwise.comparison import Comparison
from widthwise.report import plots
from widthwise.report.html import write
from widthwise.report.table import to_csv, to_json

__all__ = ["write_folder"]


def write_folder(comparison: Comparison, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``report.html``, ``results.csv``, ``results.json``, ``accuracy.svg`` and, where known, ``distance.svg``.

    Returns:
        The files written, the page first.

    Raises:
        OSError: if the folder cannot be written or the disk is full.
    """
    at = Path(folder)
    write(comparison, at / "report.html")
    write_text(at / "results.csv", to_csv(comparison))
    write_text(at / "results.json", to_json(comparison) + "\n")
    files = [at / "report.html", at / "results.csv", at / "results.json"]
    drawn = {"accuracy": plots.accuracy}
    if plots.with_distance(comparison):
        drawn["distance"] = plots.distance
    for name, draw in drawn.items():
        with atomic_path(at / f"{name}.svg") as part:
            draw(comparison).savefig(part, format="svg", metadata={"Date": None})
        files.append(at / f"{name}.svg")
    return tuple(files)
