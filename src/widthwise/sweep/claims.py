"""Who works on which run: a claim holds for a while, is renewed, and ends with its owner.

Two sweeps on one store share out the runs: each is claimed in a transaction, by one of them. A claim whose owner has
died on this machine is free at once; any other becomes free when it was not renewed in time.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from widthwise.store import Store, run_hash

__all__ = ["Claims", "Failure", "State"]

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
        self._began = time.time()
        self._renewed = self._began
        self._owner = f"{_place()}/{os.getpid()}/{time.time_ns()}"

    def take(self, name: str) -> State:
        """Claim the run of a hash."""
        now = time.time()
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM runs WHERE hash = ?", (name,)).fetchone():
                return State.DONE
            failed = db.execute(
                "SELECT count(*) FROM failures WHERE hash = ? AND failed >= ?", (name, self._began)
            ).fetchone()[0]
            if failed > self._retries:
                return State.FAILED
            held = db.execute("SELECT owner, until FROM claims WHERE hash = ?", (name,)).fetchone()
            if held and held[0] != self._owner and held[1] > now and not _is_dead(held[0]):
                return State.ELSEWHERE
            db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (name, self._owner, now + LEASE))
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
            query = "SELECT count(*) FROM failures WHERE hash = ? AND failed >= ?"
            failed: int = db.execute(query, (name, self._began)).fetchone()[0]
        return failed <= self._retries

    def failure(self, name: str) -> Failure:
        """The last failure of a run that failed."""
        query = "SELECT error, trace FROM failures WHERE hash = ? ORDER BY failed DESC LIMIT 1"
        with self._store.transaction() as db:
            return Failure(*db.execute(query, (name,)).fetchone())

    def renew(self) -> None:
        """Hold the claims for longer, once in a while."""
        now = time.time()
        if now - self._renewed < LEASE / 4:
            return
        self._renewed = now
        with self._store.transaction() as db:
            db.execute("UPDATE claims SET until = ? WHERE owner = ?", (now + LEASE, self._owner))

    def release(self) -> None:
        """Let go of all claims."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))


def _place() -> str:
    """Names the machine, and within it the container, whose process numbers mean something to us."""
    inside = ""
    with suppress(OSError):
        inside = str(Path("/proc/self/ns/pid").readlink())
    return f"{platform.node()}{inside}"


def _is_dead(owner: str) -> bool:
    """Whether the process of an owner is gone for certain; the number may have been given to another since."""
    place, pid, _ = owner.rsplit("/", 2)
    if place != _place() or os.name == "nt":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
