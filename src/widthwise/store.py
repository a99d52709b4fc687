"""Finished runs in one SQLite file: written as they come, never twice, never half.

A run is a frozen dataclass; its content hash is its name. Running the same config again finds the result. Sweeps keep
here too which runs are being worked on and which have failed (:mod:`widthwise.sweep.claims`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from widthwise._atomic import made_folder
from widthwise.errors import DataError, InputTypeError

__all__ = ["Store", "run_hash"]

_MAGIC = b"SQLite format 3\0"
_STEPS = (  # from each version to the next; a new store takes them all
    (
        "CREATE TABLE runs (hash TEXT PRIMARY KEY, kind TEXT NOT NULL, config TEXT NOT NULL, result TEXT NOT NULL, "
        "finished REAL NOT NULL)",
        "CREATE INDEX runs_kind ON runs (kind)",
    ),
    (
        "ALTER TABLE runs ADD COLUMN seconds REAL",
        "CREATE TABLE claims (hash TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL)",
        "CREATE TABLE failures (hash TEXT NOT NULL, failed REAL NOT NULL, error TEXT NOT NULL, trace TEXT NOT NULL)",
        "CREATE INDEX failures_hash ON failures (hash)",
    ),
)
VERSION = len(_STEPS)


def run_hash(config: Any) -> str:
    """Content hash of a frozen dataclass: the same for equal configs in any process, 32 hexadecimal digits.

    Raises:
        InputTypeError: if ``config`` is not a dataclass instance of JSON values.
    """
    return hashlib.sha256(_canonical(config).encode()).hexdigest()[:32]


class Store:
    """Results of runs, by the hash of their config.

    Args:
        path: the SQLite file; made if it is not there, and brought to this version if it is of an earlier one.

    Raises:
        DataError: if the file is not a store, or of a later version; it is left as it is.
        OSError: if it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        made_folder(self.path.parent)
        self._check_header()
        with self._translating():
            self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            try:
                with self.transaction():
                    self._open()
                self._db.execute("PRAGMA journal_mode = WAL")
            except BaseException:
                self._db.close()
                raise

    def put(self, kind: str, results: Iterable[tuple[Any, Mapping[str, Any]]], seconds: float | None = None) -> None:
        """Store ``(config, result)`` pairs, all of them or none; a stored config keeps its first result.

        Args:
            kind: what sort of runs they are.
            results: the pairs; results of JSON values.
            seconds: what each took, where that is known.

        Raises:
            OSError: if the disk is full or the file cannot be written.
        """
        rows = [
            (run_hash(c), kind, _canonical(c), json.dumps(r, sort_keys=True), time.time(), seconds) for c, r in results
        ]
        with self.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO runs (hash, kind, config, result, finished, seconds) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done within, by this or an inner call, or nothing; no other process writes meanwhile.

        Raises:
            OSError: if the disk is full or the file cannot be written.
        """
        with self._translating():
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def get(self, config: Any) -> dict[str, Any] | None:
        """The result of a config, or ``None`` if it has not been run."""
        with self._translating():
            row = self._db.execute("SELECT result FROM runs WHERE hash = ?", (run_hash(config),)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def all(self, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every ``(config, result)`` of a kind, in the order they finished."""
        with self._translating():
            rows = self._db.execute(
                "SELECT config, result FROM runs WHERE kind = ? ORDER BY finished, hash", (kind,)
            ).fetchall()
        return [(json.loads(config), json.loads(result)) for config, result in rows]

    def kinds(self) -> list[str]:
        """The kinds of runs there are, by name."""
        with self._translating():
            return [kind for (kind,) in self._db.execute("SELECT DISTINCT kind FROM runs ORDER BY kind")]

    def results(self, kind: str) -> dict[str, dict[str, Any]]:
        """The result of every run of a kind, by its hash."""
        with self._translating():
            rows = self._db.execute("SELECT hash, result FROM runs WHERE kind = ?", (kind,)).fetchall()
        return {name: json.loads(result) for name, result in rows}

    def seconds(self, kind: str) -> dict[str, float | None]:
        """How long every run of a kind took, by its hash; ``None`` where that is not known."""
        with self._translating():
            return dict(self._db.execute("SELECT hash, seconds FROM runs WHERE kind = ?", (kind,)).fetchall())

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store that must be there.

        Raises:
            DataError: if it is not, or as for a new one.
        """
        if not Path(path).is_file():
            raise DataError(f"{os.fspath(path)}: there is no store of results here")
        return cls(path)

    def close(self) -> None:
        """Write everything into the one file and close it."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_header(self) -> None:
        """SQLite takes a file shorter than its header for an empty database and would overwrite it."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            start = file.read(len(_MAGIC))
        if start and start != _MAGIC:
            raise self._foreign("it does not start as an SQLite file does")

    def _foreign(self, reason: object) -> DataError:
        return DataError(f"{self.path}: not a store of results ({reason}); move it away or choose another --out")

    def _open(self) -> None:
        """Check the version and make the tables; in one transaction, so that two processes may start at once."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version > VERSION or (version == 0 and tables):
            reason = f"is a store of version {version}" if version else "is a database of another program"
            raise DataError(f"{self.path}: {reason}; this widthwise writes version {VERSION}. Choose another --out.")
        for step in _STEPS[version:]:
            for statement in step:
                self._db.execute(statement)
        if version < VERSION:
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}; what was stored before is kept") from error
        except sqlite3.DatabaseError as error:
            raise self._foreign(error) from error


def _canonical(config: Any) -> str:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise InputTypeError(f"config: got {config!r}, allowed is an instance of a frozen dataclass")
    try:
        return json.dumps(
            {"type": type(config).__name__, **dataclasses.asdict(config)}, sort_keys=True, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"config: got {config!r}, allowed are fields of JSON values ({error})") from error
