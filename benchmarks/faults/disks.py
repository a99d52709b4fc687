"""A disk that is full, and a folder that cannot be written: file systems in memory, for which mounting is needed."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.faults.held import Watcher
from benchmarks.faults.jobs import Command
from benchmarks.faults.processes import Running
from benchmarks.faults.tries import Count, Ground

_USAGE = 2
_PLENTY = "256m"


def full(count: Count, ground: Ground, tries: int, draw: random.Random) -> None:
    """Disks of sizes from nothing to what the job needs; then more room, and the same job again."""
    needed = sum(path.stat().st_size for path in ground.undisturbed.rglob("*") if path.is_file())
    for i in count.rest(tries):
        size = 4096 * max(2, round((i + draw.random()) / tries * needed / 4096))
        with _mounted(ground, f"size={size}") as folder:
            watcher, process = ground.watcher(folder=folder), Running(ground.job, folder)
            process.wait()
            count.attempt(partial(_full, ground, process, watcher))
            process.forget()


def _full(ground: Ground, process: Running, watcher: Watcher) -> None:
    said = process.said()
    if process.code == 0:  # what is needed on the way is less than guessed
        watcher.conclude()
        return
    if not isinstance(ground.job.act, Command):  # functions: an OSError
        assert process.code == 1, f"ended with {process.code}: {said}"
        assert said.splitlines()[-1].startswith("OSError"), said
    else:
        assert "Traceback" not in said, said
        assert process.code in (_USAGE, 1), f"ended with {process.code}: {said}"
    subprocess.run(["mount", "-o", f"remount,size={_PLENTY}", watcher.folder], check=True)
    watcher.check()
    ground.finish(watcher)


def read_only(count: Count, ground: Ground, tries: int, draw: random.Random) -> None:
    """A folder that cannot be written: empty, and with the job half done; afterwards it can be again."""
    for i in count.rest(tries):
        with _mounted(ground, f"size={_PLENTY}") as folder:
            watcher = ground.watcher(folder=folder)
            if i % 2:  # half done
                ground.finish(watcher)
                files = sorted(path for path in folder.rglob("*.*") if path.is_file() and path.parent.name != "nets")
                for path in [path for path in files if path.suffix != ".sqlite"][i // 2 % 3 :: 3]:
                    path.unlink()
            count.attempt(partial(_read_only, ground, watcher))


def _read_only(ground: Ground, watcher: Watcher) -> None:
    before = {path: path.read_bytes() for path in watcher.folder.rglob("*") if path.is_file()}
    subprocess.run(["mount", "-o", "remount,ro", watcher.folder], check=True)
    process = Running(ground.job, watcher.folder)
    code, said = process.wait(), process.said()
    process.forget()
    subprocess.run(["mount", "-o", "remount,rw", watcher.folder], check=True)
    if not isinstance(ground.job.act, Command):
        assert "Read-only" in said.splitlines()[-1], said
    elif code != 0:  # with everything there, nothing need be written
        assert code == _USAGE, f"ended with {code}: {said}"
        assert "Traceback" not in said, said
    assert before == {path: path.read_bytes() for path in watcher.folder.rglob("*") if path.is_file()}
    ground.finish(watcher)


@contextmanager
def _mounted(ground: Ground, options: str) -> Iterator[Path]:
    folder = ground.undisturbed.with_name("mounted")
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount."""
    folder.mkdir(parents=True, exist_ok=True)
    tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
    return tried.returncode == 0 and subprocess.run(["umount", folder], check=False).returncode == 0
