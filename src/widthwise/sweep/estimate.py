"""What a sweep would cost, before it is run."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from widthwise.errors import InputError
from widthwise.executor import executing
from widthwise.store import Store
from widthwise.sweep.plan import KIND, Plan
from widthwise.sweep.run import STORE, perform

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """What a sweep would take.

    Attributes:
        total: runs of the plan.
        done: of them in the store.
        slots: runs at the same time.
        threads: of each run.
        each: seconds a run takes, mean of those finished.
        timed: on how many runs that rests.
    """

    total: int
    done: int
    slots: int
    threads: int
    each: float | None
    timed: int

    @property
    def left(self) -> int:
        """Runs to do."""
        return self.total - self.done

    @property
    def cost(self) -> float | None:
        """Seconds of one core, about."""
        return None if self.each is None else self.each * self.left * self.threads

    @property
    def time(self) -> float | None:
        """Seconds until the end, about."""
        return None if self.each is None else self.each * -(-self.left // max(1, self.slots))


def estimate(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    ray: str | None = None,
    threads: int | None = None,
) -> Estimate:
    """Count what is missing, and tell from finished runs how long it will take.

    If none is finished, the first is run here and timed; its result is kept, so that nothing is wasted.

    Args:
        plan: the sweep.
        out: its folder.
        jobs: as it would be run; likewise the others.
        ray: address of a cluster.
        threads: of each run.

    Raises:
        InputError: if the first run fails, or as :func:`~widthwise.sweep.run.run`.
        OSError: likewise.
    """
    runs = plan.runs()
    if not _times(plan, out):
        first = Plan(plan.entry, next(iter(runs.values())).arguments, version=plan.version)
        found = perform(first, out, jobs=1, threads=threads)
        if found.failed:
            raise InputError(f"run: the first one, to be timed, failed: {found.failed[0][1].error}")
    times = _times(plan, out)
    known = [seconds for seconds in times.values() if seconds is not None]
    with executing(jobs, ray, threads=threads) as executor:
        slots, each = executor.slots, executor.threads
    return Estimate(len(runs), len(times), slots, each, statistics.fmean(known) if known else None, len(known))


def _times(plan: Plan, out: str | os.PathLike[str]) -> dict[str, float | None]:
    with Store(Path(out) / STORE) as store:
        found = store.seconds(KIND)
    return {name: found[name] for name in plan.runs() if name in found}
