"""Who works on which run: a claim holds for a while, is renewed, and ends with its owner.

Two sweeps on one store share out the runs: each is claimed in a transaction, by one of them. A claim whose owner has
died on this machine is free at once; any other becomes free when it was not renewed in time. Clocks may be wrong and
may be set back: a claim seen unchanged for as long as it can hold is over, whatever it says.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from widthwise.store import Store, run_hash

__all__ = ["Claims", "Failure", "State"]

_NAMESPACE = Path("/proc/self/ns/pid")

LEASE = 60.0
"""Seconds a claim holds."""


class State(Enum):
    """What became of asking for a run."""

    OURS = "ours"
    DONE = "done"
    ELSEWHERE = "another sweep works on it"
    FAILED = "it failed as often as allowed"


@dataclass(frozen=True)
class Failure:
    """A run that went wrong.

    Attributes:
        error: the last line of the trace.
        trace: all of it.
    """

    error: str
    trace: str


class Claims:
    """The claims of one sweep.

    Args:
        store: where runs and claims are kept.
        retries: how often a run is tried again after it failed.
    """

    def __init__(self, store: Store, retries: int) -> None:
        self._store, self._retries = store, retries
        with store.transaction() as db:
            self._earlier: int = db.execute("SELECT coalesce(max(rowid), 0) FROM failures").fetchone()[0]
        self._renewed = time.monotonic()
        self._seen: dict[str, tuple[tuple[str, float], float]] = {}
        self._owner = f"{_place()}/{os.getpid()}/{time.time_ns()}"

    def take(self, name: str) -> State:
        """Claim the run of a hash."""
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM runs WHERE hash = ?", (name,)).fetchone():
                return State.DONE
            if self._failures(db, name) > self._retries:
                return State.FAILED
            held = db.execute("SELECT owner, until FROM claims WHERE hash = ?", (name,)).fetchone()
            if held and held[0] != self._owner and self._holds(name, held):
                return State.ELSEWHERE
            db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (name, self._owner, time.time() + LEASE))
        return State.OURS

    def finish(self, kind: str, config: Any, result: Mapping[str, Any], seconds: float) -> None:
        """Store a result and let go of its claim, both or neither."""
        with self._store.transaction() as db:
            self._store.put(kind, [(config, result)], seconds)
            db.execute("DELETE FROM claims WHERE hash = ?", (run_hash(config),))

    def fail(self, name: str, error: str, trace: str) -> bool:
        """Record a failure and let go of the claim; whether the run may be tried again."""
        with self._store.transaction() as db:
            db.execute("INSERT INTO failures VALUES (?, ?, ?, ?)", (name, time.time(), error, trace))
            db.execute("DELETE FROM claims WHERE hash = ? AND owner = ?", (name, self._owner))
            return self._failures(db, name) <= self._retries

    def failure(self, name: str) -> Failure:
        """The last failure of a run that failed."""
        query = "SELECT error, trace FROM failures WHERE hash = ? ORDER BY rowid DESC LIMIT 1"
        with self._store.transaction() as db:
            return Failure(*db.execute(query, (name,)).fetchone())

    def renew(self) -> None:
        """Hold the claims for longer, once in a while."""
        if time.monotonic() - self._renewed < LEASE / 4:
            return
        self._renewed = time.monotonic()
        with self._store.transaction() as db:
            db.execute("UPDATE claims SET until = ? WHERE owner = ?", (time.time() + LEASE, self._owner))

    def release(self) -> None:
        """Let go of all claims."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))

    def _failures(self, db: sqlite3.Connection, name: str) -> int:
        """How often a run has failed since this sweep began; by their order, since the clock may be set back."""
        query = "SELECT count(*) FROM failures WHERE hash = ? AND rowid > ?"
        count: int = db.execute(query, (name, self._earlier)).fetchone()[0]
        return count

    def _holds(self, name: str, claim: tuple[str, float]) -> bool:
        """Whether another's claim holds: it is not over, it was renewed while we watched, its owner may live."""
        before, since = self._seen.get(name, (None, 0.0))
        if before != claim:
            since = time.monotonic()
            self._seen[name] = claim, since
        return _is_later(claim[1], time.time()) and time.monotonic() - since < LEASE and not _is_dead(claim[0])


def _place() -> str:
    """Names the machine, and within it the container, whose process numbers mean something to us."""
    inside = ""
    with suppress(OSError):
        inside = str(_NAMESPACE.readlink())
    return f"{platform.node()}{inside}"


def _is_later(until: object, now: float) -> bool:
    """Whether a claim still holds; the store may have been written by anybody."""
    return isinstance(until, float | int) and until > now


def _is_dead(owner: str) -> bool:
    """Whether the process of an owner is gone for certain; the number may have been given to another since."""
    place, _, number = owner.rpartition("/")[0].rpartition("/")
    if place != _place() or not number.isdecimal() or os.name == "nt":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
