"""Train what is not yet in the store, a group at a time or several groups in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from torch import multiprocessing

from widthwise.comparison.group import Workplace, train_group
from widthwise.comparison.plan import Plan, Run
from widthwise.comparison.ways import BOTTLENECKS
from widthwise.data import Splits
from widthwise.errors import check_integer
from widthwise.store import Store
from widthwise.widening import weights_at

__all__ = ["Watch", "execute"]

Watch = Callable[[float, float, str], None]
Group = tuple[Run, ...]

_MEMORY = 2**28  # stacked weights a group may have; beside them stand gradients, momentum and masks
_STEP_COST = 4e-4  # seconds a step takes however small the networks; only ratios of costs matter
_WEIGHT_COST = 3e-10  # seconds a weight and example add to a step
_WORTH_STARTING = 5.0  # seconds of work; starting a process takes about as long
_CORES = os.cpu_count() or 1
_POLL = 0.2  # seconds between looks at the workers


def execute(
    plan: Plan, splits: Splits, place: Workplace, *, jobs: int | None = None, device: str = "cpu", watch: Watch
) -> None:
    """Train every run of a plan that the store does not have.

    Args:
        plan: what to train.
        splits: on which data.
        place: where results go; what they hold already is not trained again.
        jobs: processes at work at the same time, sharing the cores evenly; by default one a core where the work is
            worth starting them.
        device: where to compute.
        watch: told the cost done, the total cost and what is being trained.

    Raises:
        OSError: if results cannot be written, or a worker process was killed; finished groups are stored.
    """
    if jobs is not None:
        check_integer("jobs", jobs, 1)
    groups = _pending(plan, splits, place)
    costs = [_cost(group, plan, splits) for group in groups]
    meter = _Meter(costs, plan, groups, watch)
    if jobs is None:
        jobs = _CORES if sum(costs) > _WORTH_STARTING and device == "cpu" else 1
    if jobs == 1 or len(groups) < 2:
        for i, group in enumerate(groups):
            train_group(group, plan, splits, place, partial(meter.at, i), device)
    else:
        _in_processes(groups, plan, splits, place, jobs, device, meter)


def _pending(plan: Plan, splits: Splits, place: Workplace) -> list[Group]:
    """Groups of equal shapes still to be trained, the costliest first so that processes end together."""
    with Store(place.store) as store:
        missing = [run for run in plan.runs(splits.fingerprint()) if store.get(run) is None]
    groups: list[Group] = []
    for shape in dict.fromkeys(map(_shape, missing)):
        alike = [run for run in missing if _shape(run) == shape]
        most = max(1, _MEMORY // weights_at(plan.architecture.build, alike[0].width))
        groups += [tuple(alike[i : i + most]) for i in range(0, len(alike), most)]
    return sorted(groups, key=lambda g: _cost(g, plan, splits), reverse=True)


def _shape(run: Run) -> tuple[int, str]:
    """Networks of one width have equal shapes, but for bottlenecks."""
    return run.width, run.method if run.method in BOTTLENECKS else ""


def _cost(group: Group, plan: Plan, splits: Splits) -> float:
    weights = len(group) * weights_at(plan.architecture.build, group[0].width)
    steps = -(-len(splits.train[0]) // plan.train.batch_size) * plan.train.epochs
    return steps * (_STEP_COST + _WEIGHT_COST * weights * plan.train.batch_size)


class _Meter:
    """Adds up the cost of what is done, over groups that may run side by side."""

    def __init__(self, costs: Sequence[float], plan: Plan, groups: Sequence[Group], watch: Watch) -> None:
        self._costs, self._epochs, self._watch = costs, plan.train.epochs, watch
        self._labels = [f"{len(g)} networks of width {g[0].width}" for g in groups]
        self._done = [0.0] * len(costs)

    def at(self, group: int, epoch: int) -> None:
        """Note that a group has done so many epochs."""
        self._done[group] = self._costs[group] * epoch / self._epochs
        self._watch(sum(self._done), sum(self._costs), self._labels[group])


def _in_processes(
    groups: Sequence[Group], plan: Plan, splits: Splits, place: Workplace, jobs: int, device: str, meter: _Meter
) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    threads = max(1, _CORES // jobs)
    workers = min(jobs, len(groups))
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(queue, threads)) as pool:
        futures = [pool.submit(_work, i, group, plan, splits, place, device) for i, group in enumerate(groups)]
        try:
            _follow(futures, queue, meter)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _follow(futures: Sequence[Future[None]], queue: SimpleQueue[tuple[int, int]], meter: _Meter) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_POLL, return_when=FIRST_EXCEPTION)
        while not queue.empty():
            meter.at(*queue.get())
        for future in done:
            try:
                future.result()
            except BrokenProcessPool as error:
                raise OSError("a worker process was killed; run the same command again to go on") from error


_queue: Any = None  # a worker's line to its parent; process pools can hand it over only at start


def _begin(queue: SimpleQueue[tuple[int, int]], threads: int) -> None:
    global _queue
    _queue = queue
    torch.set_num_threads(threads)


def _work(index: int, group: Group, plan: Plan, splits: Splits, place: Workplace, device: str) -> None:
    train_group(group, plan, splits, place, lambda epoch: _queue.put((index, epoch)), device)
