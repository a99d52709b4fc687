"""A job killed, or interrupted once or twice, again and again on one folder until it comes to its end."""

from __future__ import annotations

import random
import signal
import time
from functools import partial
from pathlib import Path

from benchmarks.faults.held import Watcher
from benchmarks.faults.jobs import Command
from benchmarks.faults.processes import INTERRUPTED, LOADING, Running
from benchmarks.faults.tries import Count, Ground

_FRESH = 10  # every so manyth try loads everything anew, which cannot be disturbed in a forked process
_AFTER = 0.03  # seconds after a write within which a fault is to strike


def kills(count: Count, ground: Ground, tries: int, draw: random.Random) -> None:
    """``kill -9`` at moments spread over the whole life of the process, half of them while it writes."""
    _again_and_again(count, ground, tries, draw, [signal.SIGKILL])


def interrupts(count: Count, ground: Ground, tries: int, draw: random.Random) -> None:
    """Ctrl-C once."""
    _again_and_again(count, ground, tries, draw, [signal.SIGINT])


def impatience(count: Count, ground: Ground, tries: int, draw: random.Random) -> None:
    """Ctrl-C twice, the second time while the first is dealt with."""
    _again_and_again(count, ground, tries, draw, [signal.SIGINT] * 2)


def _again_and_again(count: Count, ground: Ground, tries: int, draw: random.Random, signals: list[int]) -> None:
    ended = loading = 0
    watcher = ground.watcher(writers=2)
    for i in count.rest(tries):
        fresh = i % _FRESH == _FRESH - 1
        process = Running(ground.job, watcher.folder, fresh=fresh)
        _wait(process, watcher.folder, ground.work + (LOADING if fresh else 0.0), draw)
        over = process.ended()
        if over:  # too late for a try
            ended += 1
            held = count.expect(partial(_concluded, process, watcher))
        else:
            loading += fresh
            for j, number in enumerate(signals):
                time.sleep(draw.expovariate(50) if j else 0.0)
                process.send(number)
            held = count.attempt(partial(_held, process, signals, watcher, fresh))
        process.forget()
        if over or not held:
            ground.drop(watcher)
            watcher = ground.watcher(writers=2)
        count.note = f"{ended} runs in between came to their end, {loading} tries began with an interpreter"
    count.expect(partial(ground.finish, watcher))
    ground.drop(watcher)


def _wait(process: Running, folder: Path, work: float, draw: random.Random) -> None:
    """Until a random moment of its life, by the time of a core it has had; for half of the tries a write later."""
    until = draw.uniform(0, work)
    while not process.ended() and process.worked < until:
        time.sleep(0.002)
    if draw.random() < 0.5:
        before = _newest(folder)
        while _newest(folder) == before and not process.ended():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, _AFTER))


def _newest(folder: Path) -> tuple[int, int]:
    """Changes whenever a file or a folder below one comes, goes or grows."""
    total = count = 0
    for place in (folder, *(p for p in folder.glob("*") if p.is_dir())):
        try:
            total += place.stat().st_mtime_ns
            count += sum(p.stat().st_size for p in place.iterdir())
        except OSError:
            continue
    return total, count


def _held(process: Running, signals: list[int], watcher: Watcher, fresh: bool) -> None:
    code = process.wait()
    if signals[0] == signal.SIGINT:
        function = not isinstance(process.job.act, Command)  # may end with a trace
        allowed = (0, INTERRUPTED, -signal.SIGINT) + ((1,) if function and fresh else ())
        assert code in allowed, f"ended with {code}: {process.said()}"
        before = fresh and "widthwise/" not in process.said()  # Python itself was still loading
        assert function or before or len(signals) > 1 or "Traceback" not in process.said(), process.said()
    watcher.check()


def _concluded(process: Running, watcher: Watcher) -> None:
    assert process.wait() == 0, process.said()
    watcher.conclude()
