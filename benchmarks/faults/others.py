"""Two processes on one folder, and a clock that is set back."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from pathlib import Path

from benchmarks.faults.held import Watcher
from benchmarks.faults.processes import Running
from benchmarks.faults.tries import Count, Ground

_LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))  # the one for processes with threads
_BACK = 3600  # seconds


def pairs(count: Count, ground: Ground, tries: int, draw: random.Random) -> None:
    """Two at once, the second one up to half a run later; in every third try the first is killed."""
    for i in count.rest(tries):
        watcher = ground.watcher(writers=3)
        first = Running(ground.job, watcher.folder)
        time.sleep(draw.uniform(0, 0.5) * ground.seconds * draw.randint(0, 1))
        second = Running(ground.job, watcher.folder)
        if i % 3 == 2:
            time.sleep(draw.uniform(0, 1.5) * ground.seconds)
            first.send(signal.SIGKILL)

        count.attempt(partial(_both, ground, first, second, watcher))
        ground.drop(watcher)


def clock(count: Count, ground: Ground, tries: int, draw: random.Random) -> None:
    """The system's clock set back by an hour in the middle, by Debian's faketime, in an interpreter of its own."""
    stamp = ground.undisturbed.with_name("clock")
    for _ in count.rest(tries):
        watcher = ground.watcher()
        stamp.write_text("+0\n")
        environment = {
            "LD_PRELOAD": str(_LIBRARIES[0]), "FAKETIME_TIMESTAMP_FILE": str(stamp), "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        process = Running(ground.job, watcher.folder, fresh=True, environment=environment)
        until = time.monotonic() + ground.seconds
        while not process.ended() and not any(watcher.folder.iterdir()) and time.monotonic() < until + 60:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, ground.seconds))
        replacement = stamp.with_suffix(".new")
        replacement.write_text(f"-{_BACK}\n")
        os.replace(replacement, stamp)  # noqa: PTH105

        count.attempt(partial(_through, process, watcher))
        ground.drop(watcher)


def _both(ground: Ground, first: Running, second: Running, watcher: Watcher) -> None:
    for process in (first, second):
        code = process.wait()
        assert code in (0, -signal.SIGKILL), f"ended with {code}: {process.said()}"
        process.forget()
    ground.finish(watcher)


def _through(process: Running, watcher: Watcher) -> None:
    code = process.wait()
    assert code == 0, f"ended with {code}: {process.said()}"
    process.forget()
    watcher.conclude()


def can_set_clocks() -> bool:
    """Whether the library is there."""
    return bool(_LIBRARIES)
