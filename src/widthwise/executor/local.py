"""Processes of this machine: started when first needed, replaced when they die, gone when their parent is."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, cast

from widthwise.errors import InputTypeError
from widthwise.executor.base import THREAD_VARIABLES, Done, Hear, Said, Task, attempt, bound_threads, silent, speaking

__all__ = ["Processes"]

_context = get_context("spawn")
_PATIENCE = 5.0  # seconds that a process told to stop is given


class Processes:
    """An :class:`~widthwise.executor.base.Executor` on this machine.

    Args:
        jobs: processes at most.
        threads: of each.
        log: where their output goes.
        hear: told what tasks tell.
    """

    def __init__(self, jobs: int, threads: int, log: Path | None, hear: Hear = silent) -> None:
        self._jobs, self.threads, self._hear = jobs, threads, hear
        self._log = os.devnull if log is None else os.fspath(log)
        self._workers: list[_Worker] = []
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
        message = _packed(task, arguments)
        worker = self._idle.pop() if self._idle else self._started()
        worker.key = key
        self._busy[worker.line] = worker
        with suppress(OSError):  # it died while idle: its line's end says so in next()
            worker.line.send((key, message))

    def next(self, timeout: float) -> Done | None:
        """A task that ended, at most ``timeout`` seconds from now."""
        until = time.monotonic() + timeout
        while ready := connection.wait(list(self._busy), max(0.0, until - time.monotonic())):
            worker = self._busy[cast(Connection, ready[0])]
            try:
                said: Done | Said = worker.line.recv()
            except (EOFError, OSError):
                del self._busy[worker.line]
                self._workers.remove(worker)
                return Done(worker.key, error=f"its process {worker.farewell()}", lost=True)
            if isinstance(said, Said):
                self._hear(said.key, said.value)
                continue
            del self._busy[worker.line]
            self._idle.append(worker)
            return said
        return None

    def close(self) -> None:
        """Stop every process; Ctrl-C waits, since the interpreter does not end before one that is left."""
        with _uninterrupted():
            workers = self._workers
            self._workers, self._idle, self._busy = [], [], {}
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.end()

    def _started(self) -> _Worker:
        worker = _Worker(self.threads, self._log)
        self._workers.append(worker)  # before it starts, or Ctrl-C could leave it to nobody
        worker.start()
        return worker


class _Worker:
    """A process and the line to it."""

    def __init__(self, threads: int, log: str) -> None:
        self.key, self._threads = "", threads
        self.line, self._theirs = _context.Pipe()
        self.process = _context.Process(target=_serve, args=(self._theirs, threads, log))

    def start(self) -> None:
        """Start the process."""
        try:
            with _environment(self._threads), _uninterrupted():
                self.process.start()
        finally:
            self._theirs.close()  # or the line would not end with the process

    def stop(self) -> None:
        """Have the process end, if it was started."""
        if self.process.pid is not None:
            self.process.terminate()

    def farewell(self) -> str:
        """How the process ended."""
        self.end()
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def end(self) -> None:
        """Wait for it, and kill it if it does not go."""
        self.line.close()
        if self.process.pid is None:
            return
        self.process.join(_PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _packed(task: Task, arguments: tuple[Any, ...]) -> bytes:
    """A message; the processes share the memory of the tensors in it."""
    try:
        return bytes(ForkingPickler.dumps((task, arguments)))
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


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the process is there, which inherits that it does not listen to it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(line: Connection, threads: int, log: str) -> None:
    """A worker's life: tasks one after another until the line ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _print_to(log)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    bound_threads(threads)
    while True:
        try:
            key, message = line.recv()
            speaking.set(partial(_say, line, key))
            _answer(line, _done(key, message))
        except (EOFError, OSError):
            return


def _done(key: str, message: bytes) -> Done:
    try:
        task, arguments = pickle.loads(message)  # of our own parent
    except Exception as error:  # whatever an import of the caller's module may raise
        return Done(key, error=f"its process cannot import it ({type(error).__name__}: {error})")
    return attempt(key, task, arguments)


def _answer(line: Connection, done: Done) -> None:
    try:
        line.send(done)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        line.send(Done(done.key, error=f"what it returned cannot be sent to another process ({error})"))


def _say(line: Connection, key: str, value: Any) -> None:
    line.send(Said(key, value))


def _print_to(log: str) -> None:
    how = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        handle = os.open(log, how, 0o666)
    except OSError:  # a full disk, or a folder that cannot be written
        handle = os.open(os.devnull, how)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  # a line is there as soon as it is said


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
