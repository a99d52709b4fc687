"""An executor without processes, for tests of what happens around it."""

from __future__ import annotations

from collections import deque
from typing import Any

from widthwise.executor import Done
from widthwise.executor.base import Task, attempt


class Inline:
    """Runs a task when asked for its result; ``losses`` of the first ones vanish with their worker."""

    def __init__(self, slots: int = 2, losses: int = 0) -> None:
        self.slots, self.threads, self.losses = slots, 1, losses
        self.waiting: deque[tuple[str, Task, tuple[Any, ...]]] = deque()

    @property
    def free(self) -> int:
        return self.slots - len(self.waiting)

    def submit(self, key: str, task: Task, *arguments: Any) -> None:
        self.waiting.append((key, task, arguments))

    def next(self, timeout: float) -> Done | None:
        key, task, arguments = self.waiting.popleft()
        if self.losses:
            self.losses -= 1
            return Done(key, error="its process was killed by SIGKILL", lost=True)
        return attempt(key, task, arguments)

    def close(self) -> None:
        self.waiting.clear()
