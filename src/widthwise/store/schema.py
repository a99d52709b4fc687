"""The tables of a store: those of each version, and how a file comes to the latest."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from pathlib import Path

from widthwise.errors import DataError

__all__ = ["bring_up", "foreign"]

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


def bring_up(db: sqlite3.Connection, path: Path) -> None:
    """Check the version and make the tables; in one transaction, so that two processes may start at once.

    Args:
        db: a connection that begins no transactions of its own.
        path: of its file, for messages.

    Raises:
        DataError: if the file is not a store, or of a later version; it is left as it is.
    """
    db.execute("BEGIN")  # since the version is read in two steps
    version = _version(db, path)
    db.execute("COMMIT")
    if version == VERSION:
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    for step in _STEPS[_version(db, path) :]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def foreign(path: Path, reason: object) -> DataError:
    """What to raise for a file of others."""
    return DataError(f"{path}: not a store of results ({reason}); move it away or choose another --out")


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The store's version, 0 of a new one; with other tables than ours, views or triggers it is refused."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not 0 <= version <= VERSION or (version == 0 and tables):
        reason = f"is a store of version {version}" if version else "is a database of another program"
        raise DataError(f"{path}: {reason}; this widthwise writes version {VERSION}. Choose another --out.")
    if version and _tables(db) != _expected(version):
        raise foreign(path, f"its tables are not those of version {version}")
    return version


def _tables(db: sqlite3.Connection) -> frozenset[tuple[object, ...]]:
    """All that a database holds, but for SQLite's own statistics."""
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'")
    return frozenset(rows.fetchall())


@functools.cache
def _expected(version: int) -> frozenset[tuple[object, ...]]:
    """What a store of a version holds."""
    with closing(sqlite3.connect(":memory:")) as db:
        for statement in (statement for step in _STEPS[:version] for statement in step):
            db.execute(statement)
        return _tables(db)
