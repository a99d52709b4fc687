"""What must hold after every fault."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.faults.jobs import Job, State
from safetensors import safe_open

from widthwise.store import Store

_BESIDE = {"-wal", "-shm", "-journal", "-lock"}


class Watcher:
    """Holds one folder against what it promised before, from fault to fault.

    Args:
        job: that works on it.
        folder: where.
        wanted: what an undisturbed run gives.
        writers: processes that write at the same time.
    """

    def __init__(self, job: Job, folder: Path, wanted: State, writers: int = 1) -> None:
        self.job, self.folder, self._wanted, self._writers = job, folder, wanted, writers
        self._finished: State = {}

    def check(self) -> None:
        """After a fault: all files are whole, what was finished is there, no more is left over than one fault leaves.

        Raises:
            AssertionError: with what does not hold.
        """
        left = [path.name for path in self.folder.rglob(".*") if path.name.endswith("-part") or ".tmp" in path.name]
        assert len(left) <= self._writers, f"temporary files pile up: {left}"
        for path in self.folder.rglob("*"):
            if path.is_file() and not any(part.endswith("-part") for part in path.parts):
                _check_whole(path)
        finished = self.job.finished(self.folder)
        for name, value in self._finished.items():
            assert finished.get(name) == value, f"{name} was finished and is gone or changed"
        self._finished = finished

    def conclude(self) -> None:
        """After a run that ended well: it gives what an undisturbed one gives, and leaves nothing beside it."""
        self.check()
        found = self.job.result(self.folder)
        different = [name for name in {**self._wanted, **found} if found.get(name) != self._wanted.get(name)]
        assert not different, f"not as undisturbed: {', '.join(different)}"
        left = [str(path.relative_to(self.folder)) for path in _left_over(self.folder)]
        assert not left, f"left over: {left}"


def _left_over(folder: Path) -> list[Path]:
    paths = folder.rglob("*")
    return [p for p in paths if p.name.startswith(".") or p.parent.name == "unfinished" or p.name[-4:] in _BESIDE]


def _check_whole(path: Path) -> None:
    """A file under its final name can be read to its end."""
    try:
        _READERS.get(path.suffix, Path.read_bytes)(path)
    except Exception as error:
        raise AssertionError(f"{path.name} is torn: {type(error).__name__}: {error}") from error


def _read_store(path: Path) -> None:
    with Store(path) as store, store.transaction() as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _read_tensors(path: Path) -> None:
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118  # not a mapping
            file.get_tensor(name)


def _read_table(path: Path) -> None:
    with path.open() as file:
        assert len(Counter(len(row) for row in csv.reader(file))) == 1
    assert path.read_text().endswith("\n")


def _read_page(path: Path) -> None:
    assert path.read_text().rstrip().endswith("</html>")


_READERS = {
    ".sqlite": _read_store,
    ".safetensors": _read_tensors,
    ".csv": _read_table,
    ".html": _read_page,
    ".json": lambda path: json.loads(path.read_text()),
    ".svg": lambda path: ElementTree.parse(path),
}
