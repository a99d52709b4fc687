"""Processes of this machine: started when first needed, replaced when they die, gone when their parent is."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from widthwise.errors import InputTypeError
from widthwise.executor.base import THREAD_VARIABLES, Done, Task, attempt, bound_threads

__all__ = ["Processes"]

_context = get_context("spawn")
_PATIENCE = 5.0  # seconds that a process told to stop is given


class Processes:
    """An :class:`~widthwise.executor.base.Executor` on this machine.

    Args:
        jobs: processes at most.
        threads: of each.
        log: where their output goes.
    """

    def __init__(self, jobs: int, threads: int, log: Path | None) -> None:
        self._jobs, self.threads = jobs, threads
        self._log = os.devnull if log is None else os.fspath(log)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}

    @property
    def slots(self) -> int:
        """Tasks that can be at work at the same time."""
        return self._jobs

    @property
    def free(self) -> int:
        """How many more tasks would start at once."""
        return self._jobs - len(self._busy)

    def submit(self, key: str, task: Task, *arguments: Any) -> None:
        """Start a task; there must be a free slot."""
        assert self.free > 0, "no free slot"
        message = _packed(key, task, arguments)
        worker = self._idle.pop() if self._idle else _Worker(self.threads, self._log)
        worker.key = key
        self._busy[worker.line] = worker
        with suppress(OSError):  # it died while idle: its line's end says so in next()
            worker.line.send_bytes(message)

    def next(self, timeout: float) -> Done | None:
        """A task that ended, at most ``timeout`` seconds from now."""
        ready = connection.wait(list(self._busy), timeout)
        if not ready:
            return None
        worker = self._busy.pop(cast(Connection, ready[0]))
        try:
            done: Done = worker.line.recv()
        except (EOFError, OSError):
            return Done(worker.key, error=f"its process {worker.farewell()}", lost=True)
        self._idle.append(worker)
        return done

    def close(self) -> None:
        """Stop every process."""
        workers = [*self._idle, *self._busy.values()]
        self._idle, self._busy = [], {}
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


class _Worker:
    """A process and the line to it."""

    def __init__(self, threads: int, log: str) -> None:
        self.key = ""
        self.line, theirs = _context.Pipe()
        self.process = _context.Process(target=_serve, args=(theirs, threads, log))
        with _environment(threads):
            self.process.start()
        theirs.close()  # or the line would not end with the process

    def farewell(self) -> str:
        """How the process ended."""
        self.end()
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}; what it printed is in the log"

    def end(self) -> None:
        """Wait for it, and kill it if it does not go."""
        self.line.close()
        self.process.join(_PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _packed(key: str, task: Task, arguments: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps((key, task, arguments))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputTypeError(
            f"task: cannot be sent to another process ({error}), allowed are importable functions and objects"
        ) from error


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Libraries read their number of threads from the environment, when they are loaded."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _serve(line: Connection, threads: int, log: str) -> None:
    """A worker's life: tasks one after another until the line ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _print_to(log)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    bound_threads(threads)
    while True:
        try:
            key, task, arguments = line.recv()
            line.send(attempt(key, task, arguments))
        except (EOFError, OSError):
            return


def _print_to(log: str) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  # a line is there as soon as it is said


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
