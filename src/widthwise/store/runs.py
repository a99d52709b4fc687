"""The store itself: one connection, reads, and writes of all or nothing."""

from __future__ import annotations

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
from widthwise.errors import DataError, check_path
from widthwise.store.naming import canonical, run_hash
from widthwise.store.schema import bring_up, foreign

__all__ = ["Store"]

_LEAST = 512  # bytes of the smallest database
_PATIENCE = 60.0  # seconds for which others may keep a store to themselves
_PAUSE = 0.05  # seconds before an opening that met another is tried again


class Store:
    """Results of runs, by the hash of their config.

    Args:
        path: the SQLite file; made if it is not there, and brought to this version if it is of an earlier one. In a
            folder that cannot be written it can be read.

    Raises:
        DataError: if the file is not a store, or of a later version; it is left as it is. Later, if what a run's row
            holds is not what was stored.
        OSError: if it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(check_path("path", path))
        made_folder(self.path.parent)
        self._check_size()
        with self._translating():
            self._db = self._opened()

    def put(self, kind: str, results: Iterable[tuple[Any, Mapping[str, Any]]], seconds: float | None = None) -> None:
        """Store ``(config, result)`` pairs, all of them or none; a stored config keeps its first result.

        Args:
            kind: what sort of runs they are.
            results: the pairs; results of JSON values.
            seconds: what each took, where that is known.

        Raises:
            OSError: if the disk is full or the file cannot be written.
        """
        rows = [(run_hash(c), kind, canonical(c), json.dumps(r), time.time(), seconds) for c, r in results]
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
        return None if row is None else self._parsed(row[0])

    def all(self, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every ``(config, result)`` of a kind, in the order they were stored."""
        with self._translating():
            rows = self._db.execute("SELECT config, result FROM runs WHERE kind = ? ORDER BY rowid", (kind,)).fetchall()
        return [(self._parsed(config), self._parsed(result)) for config, result in rows]

    def kinds(self) -> list[str]:
        """The kinds of runs there are, by name."""
        with self._translating():
            found = [kind for (kind,) in self._db.execute("SELECT DISTINCT kind FROM runs ORDER BY kind")]
        if not all(isinstance(kind, str) for kind in found):
            raise self._damaged("a kind of runs", found)
        return found

    def results(self, kind: str) -> dict[str, dict[str, Any]]:
        """The result of every run of a kind, by its hash."""
        with self._translating():
            rows = self._db.execute("SELECT hash, result FROM runs WHERE kind = ?", (kind,)).fetchall()
        return {name: self._parsed(result) for name, result in rows}

    def seconds(self, kind: str) -> dict[str, float | None]:
        """How long every run of a kind took, by its hash; ``None`` where that is not known."""
        with self._translating():
            rows = self._db.execute("SELECT hash, seconds FROM runs WHERE kind = ?", (kind,)).fetchall()
        return {name: seconds if isinstance(seconds, float | int) else None for name, seconds in rows}

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

    def _check_size(self) -> None:
        """SQLite takes a file shorter than its header for an empty database and would overwrite it.

        The file is not opened: closing it would drop the locks that this process holds on it by other connections.
        """
        if self.path.exists() and 0 < self.path.stat().st_size < _LEAST:
            raise foreign(self.path, "it is shorter than any SQLite file")

    def _opened(self) -> sqlite3.Connection:
        """A connection to a store of this version; whoever else is just opening or closing it is waited for."""
        until = time.monotonic() + _PATIENCE
        while True:
            db = sqlite3.connect(self._uri(), uri=True, timeout=_PATIENCE, isolation_level=None)
            try:
                bring_up(db, self.path)
                return db
            except sqlite3.OperationalError as error:  # not every lock that SQLite takes here has its patience
                db.close()
                if not _is_busy(error) or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
            except BaseException:
                db.close()
                raise

    def _uri(self) -> str:
        """The file as SQLite is told of it: one that cannot be written is read as it is."""
        if not self.path.exists() or os.access(self.path.parent, os.W_OK):
            return self.path.absolute().as_uri()
        logged = self.path.with_name(f"{self.path.name}-wal")
        return f"{self.path.absolute().as_uri()}?{'mode=ro' if logged.exists() else 'immutable=1'}"

    def _damaged(self, what: str, got: object) -> DataError:
        return DataError(
            f"{self.path}: {what} is {got!r:.80}, not what was stored; move it away or choose another --out"
        )

    def _parsed(self, text: object) -> dict[str, Any]:
        """A config or a result; the file may have been written by anybody."""
        try:
            found = json.loads(text) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._damaged("a run's config or result", text)
        return found

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: {error}; what was stored before is kept") from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise foreign(self.path, error) from error


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
