"""The loop that keeps an executor busy with the runs a store does not have."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from widthwise.errors import InputTypeError
from widthwise.executor import Done, Executor
from widthwise.sweep.claims import Claims, Failure, State
from widthwise.sweep.entry import Entry
from widthwise.sweep.plan import KIND, Run

__all__ = ["Status", "Watch", "call", "work_off"]

_POLL = 0.25  # seconds between looks at what other sweeps do
_LOSSES = 3  # workers that a run may take down before it is to blame


@dataclass
class Status:
    """How far a sweep is.

    Attributes:
        total: runs of the sweep.
        done: in the store.
        running: hash -> time at which it was started here.
        elsewhere: runs that another sweep works on.
        failed: hash -> what went wrong.
        seconds: of each run finished here.
        slots: runs that can be at work at the same time.
        retried: times a run was started again, after a failure or the loss of its worker.
    """

    total: int
    done: int = 0
    running: dict[str, float] = field(default_factory=dict)
    elsewhere: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    slots: int = 0
    retried: int = 0

    @property
    def left(self) -> float | None:
        """Seconds until the end, about; ``None`` if nothing is known yet."""
        waiting = self.total - self.done - len(self.failed)
        if not waiting or not self.seconds:
            return None if waiting else 0.0
        return waiting * math.fsum(self.seconds) / len(self.seconds) / max(1, min(self.slots, waiting))


Watch = Callable[[Status], None]


def call(entry: Entry, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does: find the entry, call it, and make sure of its result."""
    return _plain(entry.function()(**arguments))


def work_off(
    runs: Mapping[str, Run], entry: Entry, claims: Claims, executor: Executor, status: Status, watch: Watch
) -> None:
    """Run everything that the store does not have; return when nothing is left, or by an exception.

    Args:
        runs: by their hashes.
        entry: what they call.
        claims: of this sweep.
        executor: where they run.
        status: kept up to date.
        watch: told how far it is, several times a second.
    """
    loop = _Loop(runs, entry, claims, executor, status)
    while loop.step():
        watch(status)
    watch(status)


class _Loop:
    def __init__(
        self, runs: Mapping[str, Run], entry: Entry, claims: Claims, executor: Executor, status: Status
    ) -> None:
        self._runs, self._entry, self._claims, self._executor, self.status = runs, entry, claims, executor, status
        self._waiting = deque(runs)
        self._elsewhere: deque[str] = deque()
        self._losses: Counter[str] = Counter()

    def step(self) -> bool:
        """Start what there is room for and take one result; whether anything is left."""
        self._start()
        self.status.slots, self.status.elsewhere = self._executor.slots, len(self._elsewhere)
        self._collect()
        self._claims.renew()
        return bool(self._waiting or self._elsewhere or self.status.running)

    def _collect(self) -> None:
        """Wait a moment for a run to end; or, with none of ours at work, for others and for room."""
        if self.status.running:
            done = self._executor.next(_POLL)
            if done is not None:
                self._settle(done)
        elif self._waiting or self._elsewhere:
            time.sleep(_POLL)

    def _start(self) -> None:
        """Fill the free slots, last of all with what others had in hand."""
        for _ in range(len(self._waiting) + len(self._elsewhere)):
            if self._executor.free <= 0:
                return
            name = (self._waiting or self._elsewhere).popleft()
            state = self._claims.take(name)
            if state is State.OURS:
                self.status.running[name] = time.monotonic()
                self._executor.submit(name, call, self._entry, self._runs[name].arguments)
            elif state is State.DONE:
                self.status.done += 1
            elif state is State.FAILED:
                self.status.failed[name] = self._claims.failure(name)
            else:
                self._elsewhere.append(name)

    def _settle(self, done: Done) -> None:
        self.status.running.pop(done.key)
        if done.lost and self._losses[done.key] < _LOSSES:
            self._losses[done.key] += 1
            self._again(done.key)
        elif done.error:
            if self._claims.fail(done.key, done.error, done.trace or done.error):
                self._again(done.key)
            else:
                self.status.failed[done.key] = Failure(done.error, done.trace or done.error)
        else:
            self._claims.finish(KIND, self._runs[done.key], done.value, done.seconds)
            self.status.done += 1
            self.status.seconds.append(done.seconds)

    def _again(self, name: str) -> None:
        self.status.retried += 1
        self._waiting.append(name)


def _plain(result: Any) -> dict[str, Any]:
    """A flat result as JSON values; what is not finite as ``None``.

    Raises:
        InputTypeError: if it is none.
    """
    if not isinstance(result, Mapping) or not all(isinstance(key, str) for key in result):
        raise InputTypeError(f"run: returned {result!r:.200}, allowed is a mapping from names to numbers or texts")
    return {key: _value(key, value) for key, value in result.items()}


def _value(key: str, value: Any) -> float | int | str | bool | None:
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # of NumPy or PyTorch
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise InputTypeError(f"run: returned {value!r:.200} for {key!r}, allowed are numbers and texts")
