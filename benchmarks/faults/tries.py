"""Tries of a fault, counted."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.held import Watcher
from benchmarks.faults.jobs import Job, State
from benchmarks.faults.processes import Running, warm


@dataclass
class Count:
    """What became of a fault on a job.

    Attributes:
        tries: faults that struck.
        held: after which everything that must hold did.
        broke: what did not, by how often.
        note: what else was counted.
        until: when to stop, by the monotonic clock.
    """

    fault: str
    job: str
    tries: int = 0
    held: int = 0
    broke: Counter[str] = field(default_factory=Counter)
    note: str = ""
    until: float = math.inf

    def rest(self, tries: int) -> Iterator[int]:
        """The numbers of the tries to come, until there are so many or the time is over."""
        while self.tries < tries and time.monotonic() < self.until:
            yield self.tries

    def attempt(self, check: Callable[[], object]) -> bool:
        """Count one try; whether it held."""
        self.tries += 1
        held = self.expect(check)
        self.held += held
        return held

    def expect(self, check: Callable[[], object]) -> bool:
        """Count a failure of what was no try; whether it held."""
        try:
            check()
        except AssertionError as error:
            said = str(error)
            self.broke[said if len(said) < 2000 else f"{said[:200]} ... {said[-1800:]}"] += 1
            return False
        return True

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        fields = asdict(self) | {"broke": dict(self.broke)}
        del fields["until"]
        return fields


class Ground:
    """A job with what it gives undisturbed, and folders to disturb it in.

    Args:
        job: the job.
        folder: for all of it.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self._folder = job, folder
        folder.mkdir(parents=True)
        self.seconds, self.work = warm(job, folder)
        self.undisturbed = folder / "undisturbed"
        self.wanted: State = job.result(self.undisturbed)
        self._made = 0

    def watcher(self, writers: int = 1, folder: Path | None = None) -> Watcher:
        """A new folder under watch."""
        self._made += 1
        place = folder or self._folder / f"try{self._made}"
        place.mkdir(exist_ok=True)
        return Watcher(self.job, place, self.wanted, writers)

    def finish(self, watcher: Watcher) -> None:
        """Have the job done undisturbed on a folder that has seen faults.

        Raises:
            AssertionError: if it does not end well, or gives something else than on a new folder.
        """
        process = Running(self.job, watcher.folder)
        code = process.wait()
        assert code == 0, f"afterwards it ends with {code}: {process.said()}"
        process.forget()
        watcher.conclude()

    def drop(self, watcher: Watcher) -> None:
        """Remove a folder."""
        shutil.rmtree(watcher.folder, ignore_errors=True)
