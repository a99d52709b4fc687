"""The public functions: open the store, find what is missing, have it run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widthwise.errors import DataError, check_integer
from widthwise.executor import executing
from widthwise.store import Store
from widthwise.sweep.claims import Claims, Failure
from widthwise.sweep.entry import Entry
from widthwise.sweep.plan import KIND, Plan, Run
from widthwise.sweep.schedule import Status, Watch, work_off

__all__ = ["STORE", "Sweep", "perform", "results", "run"]

STORE = "results.sqlite"
"""The file of results in a sweep's folder."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep has given.

    Attributes:
        rows: of every run in the store its arguments and its results, in the order of the grid.
        failed: runs that went wrong, with how.
        run: how many were run by this call; others' may have been added meanwhile.
    """

    rows: Sequence[dict[str, Any]]
    failed: Sequence[tuple[Run, Failure]]
    run: int


def run(
    entry: str | Callable[..., Any],
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    out: str | os.PathLike[str],
    fixed: Mapping[str, Any] | None = None,
    together: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | None = None,
    version: int = 1,
    jobs: int | None = None,
    ray: str | None = None,
    threads: int | None = None,
    retries: int = 0,
    watch: Watch | None = None,
) -> Sweep:
    """Call a function at every point of a grid, in processes of this machine or on a Ray cluster.

    Results are stored as they come; a run that is there is not run again. However a sweep ends, the same call goes on
    from there. Several on one folder at the same time share out the runs. In a script of your own, call it under
    ``if __name__ == "__main__":``, since its processes import the script.

    Args:
        entry: ``"train"``, ``"compare"``, ``"reproduce"`` (:mod:`widthwise.sweep.entries`), your own function, or its
            name, ``"module:function"`` or ``"file.py:function"``. It takes keyword arguments of JSON values and
            returns a mapping from names to numbers or texts.
        grid: argument -> values; every combination is run.
        out: the folder for ``results.sqlite`` and for ``workers.log``, what runs print.
        fixed: arguments common to all runs.
        together: arguments whose values go side by side.
        seeds: adds ``seed`` = 0, 1, ... to the grid.
        version: of your function; with another one, everything is run again.
        jobs: runs at the same time; by default one a core, and as many as a cluster has room for.
        ray: address of a Ray cluster, or ``"local"``.
        threads: of each run; by default the cores shared out evenly, and one on Ray.
        retries: how often a run that failed is tried again.
        watch: told several times a second how far it is.

    Raises:
        InputTypeError: for an argument of the wrong type.
        InputError: for an entry that cannot be found, an argument that it does not take, a number out of range.
        DataError: if the folder's store is not one, or of a later version.
        OSError: if the folder cannot be written or the cluster cannot be reached.
    """
    plan = Plan(Entry.of(entry), fixed or {}, grid or {}, together or {}, seeds, version)
    return perform(plan, out, jobs=jobs, ray=ray, threads=threads, retries=retries, watch=watch)


def perform(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    ray: str | None = None,
    threads: int | None = None,
    retries: int = 0,
    watch: Watch | None = None,
) -> Sweep:
    """Run what the store does not have of a plan; the arguments are those of :func:`run`."""
    check_integer("retries", retries, 0)
    runs, folder = plan.runs(), Path(out)
    with Store(folder / STORE) as store:
        there = store.seconds(KIND)
        missing = {name: each for name, each in runs.items() if name not in there}
        status = Status(len(runs), done=len(runs) - len(missing))
        if missing:
            log = folder / "workers.log"
            with executing(jobs, ray, threads=threads, log=log) as executor, _claims(store, retries) as claims:
                work_off(missing, plan.entry, claims, executor, status, watch or _silent)
        failed = [(runs[name], failure) for name, failure in status.failed.items()]
        return Sweep(_rows(store, runs), failed, len(status.seconds))


def results(out: str | os.PathLike[str], plan: Plan | None = None) -> list[dict[str, Any]]:
    """Arguments and results of finished runs in a sweep's folder, those of an equal name as the result gives them.

    Args:
        out: the folder.
        plan: whose runs, in the order of its grid; all in the order they finished if omitted.

    Raises:
        DataError: if there is no store, or one of a later version.
    """
    with Store.existing(Path(out) / STORE) as store:
        if plan is not None:
            return _rows(store, plan.runs())
        return [{**_arguments(store, config), **result} for config, result in store.all(KIND)]


def _arguments(store: Store, config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("arguments")
    if not isinstance(found, Mapping):
        raise DataError(f"{store.path}: a run without arguments is not of a sweep; move the store away")
    return found


@contextmanager
def _claims(store: Store, retries: int) -> Iterator[Claims]:
    claims = Claims(store, retries)
    try:
        yield claims
    finally:
        claims.release()


def _rows(store: Store, runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    found = store.results(KIND)
    return [{**each.arguments, **found[name]} for name, each in runs.items() if name in found]


def _silent(status: Status) -> None:
    """Watch nothing."""
