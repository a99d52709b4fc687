"""Many calls of one function, their results in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from widthwise.executor.base import Executor, Task

__all__ = ["gather"]

_LOSSES = 3  # workers that a call may take down
_POLL = 1.0  # seconds


def gather(executor: Executor, task: Task, calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield what ``task`` returns for each tuple of arguments, in their order, as soon as it can be.

    Calls whose worker vanishes are made again. No more results than twice the slots wait for their turn.

    Args:
        executor: where to call; nothing else may be under way there.
        task: an importable function.
        calls: its arguments.

    Raises:
        OSError: if a call fails; the message is that of its error.
    """
    waiting = list(range(len(calls)))  # a heap: the first is wanted first, lost calls among them
    found: dict[int, Any] = {}
    losses: Counter[str] = Counter()
    for wanted in range(len(calls)):
        while wanted not in found:
            while waiting and executor.free > 0 and (waiting[0] <= wanted or len(found) < 2 * executor.slots):
                at = heappop(waiting)
                executor.submit(str(at), task, *calls[at])
            done = executor.next(_POLL)
            if done is None:
                continue
            losses[done.key] += done.lost
            if done.lost and losses[done.key] <= _LOSSES:
                heappush(waiting, int(done.key))
            elif done.error:
                raise OSError(f"{task.__name__}: {done.error}")
            else:
                found[int(done.key)] = done.value
        yield found.pop(wanted)
