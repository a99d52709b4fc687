"""Results in order, whatever order they come in and whatever is lost on the way."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widthwise.executor import Done
from widthwise.executor.base import Task, attempt
from widthwise.executor.gather import gather


class Shuffled:
    """Runs tasks in any order and loses some of them, each at most three times."""

    def __init__(self, slots: int, seed: int) -> None:
        self.slots, self.threads, self._draw = slots, 1, random.Random(seed)
        self._held: list[tuple[str, Task, tuple[Any, ...]]] = []
        self._lost: dict[str, int] = {}

    @property
    def free(self) -> int:
        return self.slots - len(self._held)

    def submit(self, key: str, task: Task, *arguments: Any) -> None:
        assert self.free > 0
        self._held.append((key, task, arguments))

    def next(self, timeout: float) -> Done | None:
        assert self._held, "it waits for nothing"
        key, task, arguments = self._held.pop(self._draw.randrange(len(self._held)))
        if self._draw.random() < 0.3 and self._lost.get(key, 0) < 3:
            self._lost[key] = self._lost.get(key, 0) + 1
            return Done(key, error="lost", lost=True)
        return attempt(key, task, arguments)

    def close(self) -> None:
        self._held.clear()


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(1, 5), st.integers(0, 1000))
def test_results_come_in_order(n, slots, seed):
    calls = [(float(i),) for i in range(n)]
    assert list(gather(Shuffled(slots, seed), math.sqrt, calls)) == [math.sqrt(i) for i in range(n)]


def test_an_error_is_raised_with_its_cause():
    with pytest.raises(OSError, match="sqrt: ValueError: math domain error"):
        list(gather(Shuffled(2, 0), math.sqrt, [(1.0,), (-1.0,)]))
