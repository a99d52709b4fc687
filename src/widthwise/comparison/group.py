"""One group of runs of equal shape: trained as one computation; when killed, it goes on from its checkpoint."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from widthwise._tensorfile import read_tensors, write_tensors
from widthwise.comparison.foretell import kernel_distances
from widthwise.comparison.nets import make
from widthwise.comparison.plan import Plan, Run
from widthwise.data import Splits
from widthwise.store import Store, run_hash
from widthwise.training import Family, Progress, evaluate, objective_for, train
from widthwise.training.divergence import reported_elsewhere

__all__ = ["Workplace", "train_group"]

KIND = "network"
NET = ("widthwise.net", 1)
_CHECKPOINT = ("widthwise.unfinished", 1)
_SAVE_EVERY = 5.0  # seconds
_SAY_EVERY = 0.5
_RECORDS = 20


@dataclass(frozen=True)
class Workplace:
    """Where a comparison keeps what it has.

    Attributes:
        folder: the output folder.
    """

    folder: Path

    @property
    def store(self) -> Path:
        """The file of finished runs."""
        return self.folder / "results.sqlite"

    def checkpoint(self, group: tuple[Run, ...]) -> Path:
        """Where an unfinished group keeps its state."""
        names = "".join(run_hash(run) for run in group)
        return self.folder / "unfinished" / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.safetensors"

    def net(self, run: Run) -> Path:
        """Where a trained network is kept until the winner is known."""
        return self.folder / "nets" / f"{run_hash(run)}.safetensors"


def train_group(
    group: tuple[Run, ...],
    plan: Plan,
    splits: Splits,
    place: Workplace,
    report: Callable[[float], None],
    device: torch.device | str = "cpu",
) -> None:
    """Train a group's networks together and store their results, all at once.

    Args:
        group: runs of one shape.
        plan: the comparison they belong to.
        splits: the data.
        place: where results and checkpoints are kept.
        report: called with the number of epochs done, now and then within an epoch too.
        device: where to compute.
    """
    nets = [make(run, plan, splits.train) for run in group]
    distances = kernel_distances(nets, plan.architecture, splits.train[0])
    family = Family([net.model for net in nets], [net.pruned for net in nets])
    family.to(device)
    path = place.checkpoint(group)
    progress = _restore(path, family)
    objective = objective_for(splits.task)
    parts = [tuple(t.to(device) for t in part) for part in (splits.train, splits.validation, splits.test)]
    training, validation, test = ((x.to(plan.torch_dtype), _cast(y, plan.torch_dtype)) for x, y in parts)
    saver = _Saver(path, family)

    def after_epoch(now: Progress) -> None:
        saver.maybe(now)
        report(now.epoch)

    report(progress.epoch)
    with reported_elsewhere():  # as networks without a metric
        train(
            family,
            training,
            plan.train,
            objective,
            seeds=[run.seed for run in group],
            validation=validation,
            record_every=max(1, plan.train.epochs // _RECORDS),
            progress=progress,
            after_step=_Reporter(report).maybe,
            after_epoch=after_epoch,
        )
    on_test = evaluate(family, test, objective).tolist()
    on_validation = progress.curve[-1][1]
    _keep_best_nets(group, plan, family, on_validation, place)
    results = [
        {
            "test": _number(on_test[i]),
            "validation": _number(on_validation[i]),
            "curve": [[epoch, _number(values[i])] for epoch, values in progress.curve],
            "measured": _number(distances[i]),
            "layers": [layer.connectivity for layer in net.layers],
            "notes": list(net.notes),
        }
        for i, net in enumerate(nets)
    ]
    with Store(place.store) as store:
        store.put(KIND, zip(group, results, strict=True))
    path.unlink(missing_ok=True)


class _Reporter:
    """Says within an epoch, which may take long, how much of it is done; twice a second at most."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self._report, self._last = report, time.monotonic()

    def maybe(self, epochs: float) -> None:
        """Say it if it has been long enough."""
        if time.monotonic() - self._last >= _SAY_EVERY:
            self._report(epochs)
            self._last = time.monotonic()


class _Saver:
    """Writes a group's state at the end of an epoch, at most once in a few seconds."""

    def __init__(self, path: Path, family: Family) -> None:
        self._path, self._family, self._last = path, family, time.monotonic()

    def maybe(self, progress: Progress) -> None:
        """Save if it has been long enough."""
        if time.monotonic() - self._last < _SAVE_EVERY:
            return
        tensors = {f"state/{name}": t for name, t in self._family.state().items()}
        tensors |= {f"momentum/{name}": t for name, t in progress.momentum.items()}
        write_tensors(self._path, *_CHECKPOINT, {"epoch": progress.epoch, "curve": progress.curve}, tensors)
        self._last = time.monotonic()


def _restore(path: Path, family: Family) -> Progress:
    if not path.exists():
        return Progress()
    try:
        about, tensors = read_tensors(path, *_CHECKPOINT, {"epoch": int, "curve": list})
        curve = [(int(epoch), list(map(float, values))) for epoch, values in about["curve"]]
    except (ValueError, TypeError, OverflowError):  # a disk's fault, since files are written whole: start over
        return Progress()
    state = {n.removeprefix("state/"): t for n, t in tensors.items() if n.startswith("state/")}
    momentum = {n.removeprefix("momentum/"): t for n, t in tensors.items() if n.startswith("momentum/")}
    if not (_alike(state, family.state()) and _alike(momentum, {n: family.params.get(n) for n in momentum})):
        return Progress()
    family.load_state(state)
    device = next(iter(family.params.values())).device
    return Progress(about["epoch"], {name: tensor.to(device) for name, tensor in momentum.items()}, curve)


def _alike(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor | None]) -> bool:
    """Whether the same names stand for tensors of the same shapes and types."""
    return found.keys() == wanted.keys() and all(
        mine is not None and (tensor.shape, tensor.dtype) == (mine.shape, mine.dtype)
        for tensor, mine in zip(found.values(), map(wanted.get, found), strict=True)
    )


def _keep_best_nets(
    group: tuple[Run, ...], plan: Plan, family: Family, validation: list[float], place: Workplace
) -> None:
    """Of each method within the budget, keep the network that does best on the validation set."""
    order = sorted(range(len(group)), key=lambda i: (math.isfinite(validation[i]), validation[i]))
    best = {group[i].method: i for i in order if plan.within(group[i])}
    for i in best.values():
        write_tensors(place.net(group[i]), *NET, {}, family.model(i).state_dict())


def _cast(y: Tensor, dtype: torch.dtype) -> Tensor:
    return y.to(dtype) if y.is_floating_point() else y


def _number(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or value != value else float(value)
