"""Train what is not yet in the store, a group at a time or several groups in processes of their own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from functools import partial

import torch

from widthwise._memory import check_room
from widthwise.comparison.group import Workplace, train_group
from widthwise.comparison.plan import Plan, Run
from widthwise.comparison.ways import BOTTLENECKS
from widthwise.data import Splits
from widthwise.errors import InputError
from widthwise.executor import Done, cores, executing, tell
from widthwise.store import Store
from widthwise.widening import weights_at

__all__ = ["Watch", "execute"]

Watch = Callable[[float, float, str], None]
Group = tuple[Run, ...]

_MEMORY = 2**28  # stacked weights a group may have; beside them stand gradients, momentum and masks
_COPIES = 8  # of a network's weights: weights, gradients, momentum, masks, what is gone back to
_DRAWING = 10  # copies while a mask is drawn or scored, of one network at a time
_EXAMPLES = 2000  # that go through networks at a time
_STEP_COST = 4e-4  # seconds a step takes however small the networks; only ratios of costs matter
_WEIGHT_COST = 3e-10  # seconds a weight and example add to a step
_WORTH_STARTING = 5.0  # seconds of work; starting a process takes about as long
_POLL = 1.0  # seconds at most between looks at the workers


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
        InputError: if networks would not fit into memory, before any is trained.
        OSError: if results cannot be written, or a worker process was killed; finished groups are stored.
    """
    runs = plan.runs(splits.fingerprint())
    with Store(place.store) as store:
        groups = _groups([run for run in runs if store.get(run) is None], plan, splits)
    for group in groups:
        _check_room(group, plan, splits, torch.device(device))
    costs = [_cost(group, plan, splits) for group in groups]
    meter = _Meter(costs, plan, groups, watch)
    if jobs is None:
        jobs = cores() if sum(costs) > _WORTH_STARTING and device == "cpu" else 1
    if jobs == 1 or len(groups) < 2:
        for i, group in enumerate(groups):
            train_group(group, plan, splits, place, partial(meter.at, i), device)
    else:
        _in_processes(groups, plan, splits, place, jobs, device, meter)
    for group in _groups(runs, plan, splits):  # of one killed after its results were stored
        place.checkpoint(group).unlink(missing_ok=True)


def _groups(runs: Sequence[Run], plan: Plan, splits: Splits) -> list[Group]:
    """Groups of equal shapes, the costliest first so that processes end together."""
    groups: list[Group] = []
    for shape in dict.fromkeys(map(_shape, runs)):
        alike = [run for run in runs if _shape(run) == shape]
        most = max(1, _MEMORY // weights_at(plan.architecture.build, alike[0].width))
        groups += [tuple(alike[i : i + most]) for i in range(0, len(alike), most)]
    return sorted(groups, key=lambda g: _cost(g, plan, splits), reverse=True)


def _shape(run: Run) -> tuple[int, str]:
    """Networks of one width have equal shapes, but for bottlenecks."""
    return run.width, run.method if run.method in BOTTLENECKS else ""


def _check_room(group: Group, plan: Plan, splits: Splits, device: torch.device) -> None:
    """Refuse a group whose weights, and whose units for the examples at a time, do not fit into memory."""
    nets, width = len(group), group[0].width
    own = weights_at(plan.architecture.build, width)
    judged, measured = (min(_EXAMPLES, len(part[0])) for part in (splits.test, splits.train))
    numbers = (_COPIES * nets + _DRAWING) * own + 2 * width * (nets * judged + measured)  # before and after a layer
    name = "base_width" if width == plan.base_width else "factors"
    what = f"{name}: got width {width}; training {nets} networks of it, {own:,} weights each,"
    check_room(what, plan.torch_dtype.itemsize * numbers, "are narrower ones, or fewer seeds", device)


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

    def at(self, group: int, epoch: float) -> None:
        """Note that a group has done so many epochs."""
        self._done[group] = self._costs[group] * epoch / self._epochs
        self._watch(sum(self._done), sum(self._costs), self._labels[group])

    def heard(self, group: str, epoch: float) -> None:
        """Note it of a group in another process."""
        self.at(int(group), epoch)


def _in_processes(
    groups: Sequence[Group], plan: Plan, splits: Splits, place: Workplace, jobs: int, device: str, meter: _Meter
) -> None:
    waiting = list(range(len(groups)))
    left = len(groups)
    with executing(min(jobs, len(groups)), threads=max(1, cores() // jobs), hear=meter.heard) as executor:
        while left:
            while waiting and executor.free > 0:
                at = waiting.pop(0)
                executor.submit(str(at), _work, groups[at], plan, splits, place, device)
            done = executor.next(_POLL)
            if done is not None:
                _check(done)
                left -= 1


def _work(group: Group, plan: Plan, splits: Splits, place: Workplace, device: str) -> Exception | None:
    """Train a group in a worker; an error is handed over as it is, with where it came from."""
    try:
        train_group(group, plan, splits, place, tell, device)
    except Exception as error:
        error.add_note(traceback.format_exc())
        return error
    return None


def _check(done: Done) -> None:
    if done.lost:
        raise OSError(f"a worker process was lost: {done.error}; run the same command again to go on")
    if isinstance(done.value, Exception):
        raise done.value
    if done.error:
        raise InputError(f"build: {done.error}; allowed with jobs above 1 are functions and classes of a module")
