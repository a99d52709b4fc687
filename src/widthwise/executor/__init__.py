"""Where work is done beside this process: processes of this machine, or a Ray cluster. One interface for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from widthwise.errors import check_integer, check_threads
from widthwise.executor.base import Done, Executor, Hear, cores, silent, tell

__all__ = ["Done", "Executor", "cores", "executing", "tell"]


@contextmanager
def executing(
    jobs: int | None = None,
    ray: str | None = None,
    *,
    threads: int | None = None,
    log: Path | None = None,
    hear: Hear = silent,
) -> Iterator[Executor]:
    """An executor, shut down on leaving whatever happens.

    Args:
        jobs: tasks at work at the same time; by default one a core here, and what a cluster has room for there.
        ray: the address of a Ray cluster, or ``"local"`` for one of its own on this machine; without it, processes.
        threads: of each task; by default the cores shared out evenly here, and one there.
        log: a file to which what tasks print is appended; it is lost if omitted.
        hear: called, while a result is waited for, with the key of a task and what it tells (:func:`tell`); not on Ray.

    Raises:
        InputError: for a number that is not allowed, or if Ray is not installed.
        OSError: if the cluster cannot be reached.
    """
    if jobs is not None:
        check_integer("jobs", jobs, 1)
    if threads is not None:
        check_threads("threads", threads)
    executor: Executor
    if ray is None:
        from widthwise.executor.local import Processes

        jobs = jobs or cores()
        executor = Processes(jobs, threads or max(1, cores() // jobs), log, hear)
    else:
        from widthwise.executor.cluster import Cluster

        executor = Cluster(ray, jobs, threads or 1)
    try:
        yield executor
    finally:
        executor.close()
