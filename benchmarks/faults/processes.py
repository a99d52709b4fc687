"""Processes to be disturbed: forked off this one, which has loaded everything, or started from nothing."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from multiprocessing import get_context, resource_sharer
from pathlib import Path
from typing import NoReturn

from benchmarks.faults.jobs import Command, Job

from widthwise.executor import local

ROOT = Path(__file__).parents[2]
INTERRUPTED = 130
LOADING = time.process_time()  # seconds of a core until now, most of which PyTorch took
LIMIT = 600.0  # seconds after which a process hangs
_SOON = 120.0  # seconds in which the workers of a killed process must be gone: they look once they are loaded


class Running:
    """A job at work on a folder, in a session of its own, its output in a file beside the folder.

    Args:
        job: what it does.
        folder: where.
        fresh: whether to start an interpreter, which takes as long to load as the job to run.
        environment: variables for a fresh one.
    """

    def __init__(self, job: Job, folder: Path, *, fresh: bool = False, environment: dict[str, str] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.output = folder.with_name(f"{folder.name}.{time.monotonic_ns()}.out")
        self.job = job
        self.code: int | None = None
        self.worked = 0.0
        if fresh:
            with self.output.open("w") as file:
                command = [sys.executable, "-m", "benchmarks.faults", "--act", job.name, str(folder)]
                if isinstance(job.act, Command):
                    command = [sys.executable, "-m", "widthwise", *job.act.arguments(folder)]
                variables = {**os.environ, **(environment or {})}
                self.pid = subprocess.Popen(
                    command, stdout=file, stderr=file, start_new_session=True, cwd=ROOT, env=variables,
                    preexec_fn=_listen,
                ).pid  # fmt: skip
        else:
            sys.stdout.flush()
            self.pid = os.fork()
            if self.pid == 0:
                _live(job, folder, self.output)

    def ended(self) -> bool:
        """Whether it is over; without waiting. Notes the seconds of a core that it, without its workers, has had."""
        if self.code is None:
            self.worked = _worked(self.pid)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self, seconds: float = LIMIT) -> int:
        """Its exit code."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                os.killpg(self.pid, signal.SIGKILL)
                raise AssertionError(f"it hangs: {self.said()}")
            time.sleep(0.002)
        assert self.code is not None
        self._alone()
        return self.code

    def send(self, number: int) -> None:
        """Signal it alone; what it started is to follow by itself."""
        if not self.ended():
            os.kill(self.pid, number)

    def said(self) -> str:
        """Its output."""
        return self.output.read_text() if self.output.exists() else ""

    def forget(self) -> None:
        """Remove the file of its output."""
        self.output.unlink(missing_ok=True)

    def _alone(self) -> None:
        """Make sure that nothing of its session lives on."""
        until = time.monotonic() + _SOON
        while left := _session(self.pid):
            if time.monotonic() > until:
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"{len(left)} processes outlive it")
            time.sleep(0.01)


def warm(job: Job, folder: Path) -> tuple[float, float]:
    """Do a job once here, so that what it loads and compiles is there in all that is forked off this process.

    Returns:
        The seconds that it takes then, undisturbed, and those of a core.
    """
    local._context = get_context("fork")  # workers are forked off too; those of a fresh interpreter are not
    said = folder / "warming.out"
    with said.open("w") as out, redirect_stdout(out), redirect_stderr(out):
        (folder / "warming").mkdir()
        code = _act(job, folder / "warming")
    if code:
        raise SystemExit(f"{job.name} undisturbed ends with {code}: {said.read_text()}")
    resource_sharer.stop()  # what hands tensors to workers
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(_SOON)
    until = time.monotonic() + _SOON
    while len(threads := list(Path("/proc/self/task").iterdir())) > 1 and time.monotonic() < until:
        time.sleep(0.01)  # the system lets go of a thread somewhat later than Python
    assert len(threads) == 1, f"{len(threads)} threads, which do not survive a fork"
    gc.freeze()  # or what is collected in a process were copied into it first
    began = time.monotonic()
    process = Running(job, folder / "undisturbed")
    assert process.wait() == 0, process.said()
    process.forget()
    return time.monotonic() - began, process.worked


def _live(job: Job, folder: Path, output: Path) -> NoReturn:
    """The life of a forked process, which never returns to what forked it."""
    code = 1
    try:
        os.setsid()
        _listen()
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(handle, stream)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        code = _act(job, folder)
        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _act(job: Job, folder: Path) -> int:
    try:
        job.act(folder)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # as an interpreter would
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _listen() -> None:
    """Ctrl-C is ignored by what a shell starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _worked(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _session(leader: int) -> list[int]:
    """Processes of a session, zombies apart."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    found.append(int(entry.name))
    return found
