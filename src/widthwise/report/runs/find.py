"""From what the user points at to the parts of a report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from widthwise._jsonfile import read_json
from widthwise.errors import DataError, InputError
from widthwise.report.html import ComparisonPart
from widthwise.report.part import Part
from widthwise.report.runs.compared import is_comparison, read_comparison
from widthwise.report.runs.experiment import ExperimentPart, is_experiment
from widthwise.report.runs.sweep import stored_runs

__all__ = ["find_parts"]

_STORES = (".sqlite", ".sqlite3", ".db")
_COMPARISON, _ITS_STORE = "results.json", "results.sqlite"
_SCALES = ("-smoke", "-small", "-paper")
_DRAWN = (".csv", ".svg")  # what lies beside an experiment's JSON file


def find_parts(runs: Iterable[str | os.PathLike[str]], metric: str | None = None) -> list[Part]:
    """What folders and files hold that can be reported on, each once.

    A folder stands for all it holds: comparisons, experiments, stores, at any depth, hidden names and other files
    left out. The store beside a comparison's ``results.json`` is part of that comparison.

    Args:
        runs: folders or files.
        metric: of the stores, the result to explain.

    Raises:
        DataError: if a file is damaged, or a file or folder holds nothing of ours.
        InputError: if nothing is given, or something that is not there; or the metric is unknown.
        OSError: if a file cannot be read.
    """
    parts: dict[Path, list[Part]] = {}
    given = [Path(run) for run in runs]
    if not given:
        raise InputError("RUNS: got none, allowed are folders or files that compare, reproduce or sweep have written")
    for place in given:
        if not place.exists():
            raise InputError(f"RUNS: got {str(place)!r}, which does not exist, allowed are folders and files")
        files = list(_files(place)) if place.is_dir() else [_main(place)]
        if not files:
            raise DataError(
                f"{place}: nothing to report on; it should hold what compare, reproduce or sweep has written"
            )
        for file in files:
            if file.resolve() not in parts:
                parts[file.resolve()] = _parts(file, metric)
    return [part for found in parts.values() for part in found]


def _files(folder: Path) -> Iterator[Path]:
    """The files of ours in a folder, those of its subfolders last, by name."""
    names = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    compared = (folder / _COMPARISON).is_file()
    for entry in names:
        ours = entry.suffix == ".json" and (entry.name == _COMPARISON or entry.stem.endswith(_SCALES))
        store = entry.suffix in _STORES and not (compared and entry.name == _ITS_STORE)
        if entry.is_file() and (ours or store):
            yield entry
    for entry in names:
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)


def _main(file: Path) -> Path:
    """The JSON file beside an experiment's table or drawing; any other file itself."""
    beside = file.with_suffix(".json")
    return beside if file.suffix in _DRAWN and beside.is_file() else file


def _parts(file: Path, metric: str | None) -> list[Part]:
    if file.suffix in _STORES:
        return list(stored_runs(file, metric))
    if file.suffix != ".json":
        raise DataError(f"{file}: not a result; allowed are .json files and .sqlite stores, or folders of them")
    record = read_json(file)
    if is_experiment(record):
        return [ExperimentPart(file)]
    if is_comparison(record):
        return [ComparisonPart(read_comparison(file))]
    raise DataError(f"{file}: neither a comparison nor an experiment that widthwise wrote")
