"""What an executor is, and what runs in its workers."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from widthwise.errors import InputError, InputTypeError

__all__ = [
    "THREAD_VARIABLES",
    "Done",
    "Executor",
    "Hear",
    "Said",
    "Task",
    "attempt",
    "bound_threads",
    "cores",
    "silent",
    "speaking",
    "tell",
]

_PACKAGE = str(Path(__file__).parents[1] / "_")[:-1]  # with what ends the name of a folder

Task = Callable[..., Any]
"""A function of a module, so that another process can import it."""

Hear = Callable[[str, Any], None]
"""Given the key of a task and what it tells."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True)
class Done:
    """What became of a task.

    Attributes:
        key: of the task.
        value: what it returned.
        error: the last line of its trace; empty if all went well.
        trace: where it went wrong.
        lost: whether its worker vanished under it, so that it may well succeed elsewhere.
        seconds: it took.
    """

    key: str
    value: Any = None
    error: str = ""
    trace: str = ""
    lost: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Said:
    """What a task at work tells.

    Attributes:
        key: of the task.
        value: what it told.
    """

    key: str
    value: Any


class Executor(Protocol):
    """Runs tasks elsewhere. Not thread-safe: one loop submits and collects."""

    threads: int
    """Of each task."""

    @property
    def slots(self) -> int:
        """Tasks that can be at work at the same time, now."""

    @property
    def free(self) -> int:
        """How many more tasks would start at once; 0 or less if none."""

    def submit(self, key: str, task: Task, *arguments: Any) -> None:
        """Start a task, or have it wait for a free slot.

        Raises:
            InputTypeError: if it cannot be sent to another process.
        """

    def next(self, timeout: float) -> Done | None:
        """A task that ended, at most ``timeout`` seconds from now."""

    def close(self) -> None:
        """Stop everything, at once."""


speaking: ContextVar[Callable[[Any], None] | None] = ContextVar("widthwise_speaking", default=None)
"""How the task at work in this process is heard."""


def tell(value: Any) -> None:
    """From within a task, tell whoever hears its executor; nobody does on a cluster, or outside a task."""
    say = speaking.get()
    if say is not None:
        say(value)


def silent(key: str, value: Any) -> None:
    """Hear nothing."""


def attempt(key: str, task: Task, arguments: tuple[Any, ...]) -> Done:
    """Run a task in a worker; an error of its own becomes a result, whose trace begins in the task, where one helps."""
    began = time.monotonic()
    try:
        return Done(key, task(*arguments), seconds=time.monotonic() - began)
    except (Exception, SystemExit) as error:
        trace = "" if _is_told(error) else "".join(traceback.format_exception(type(error), error, _within(error)))
        summary = traceback.format_exception_only(error)[-1].strip()
        return Done(key, error=summary, trace=trace, seconds=time.monotonic() - began)


def _is_told(error: BaseException) -> bool:
    """Whether an error says all itself: one of ours that no code of the user's led to."""
    ours = [frame.filename.startswith(_PACKAGE) for frame in traceback.extract_tb(_within(error))]
    return isinstance(error, InputError | InputTypeError) and all(ours)


def _within(error: BaseException) -> Any:
    """The trace without this module's own frame."""
    return error.__traceback__.tb_next if error.__traceback__ is not None else None


def bound_threads(threads: int) -> None:
    """Let every library of this process have so many threads, those loaded and those still to come."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    torch.set_num_threads(threads)
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
