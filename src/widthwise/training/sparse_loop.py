"""The training loop of sparse families: one order of examples for all networks, resumable from a file."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from widthwise._tensorfile import read_tensors, write_tensors
from widthwise.errors import DataError, InputError, check_finite
from widthwise.training.config import TrainConfig
from widthwise.training.divergence import Step, tell
from widthwise.training.loop import Progress, order_of
from widthwise.training.objective import Objective, objective_for
from widthwise.training.sparse_family import Rule, SparseFamily

__all__ = ["calls", "evaluate_sparse", "load_progress", "save_progress", "train_sparse"]

Pair = tuple[Tensor, Tensor]
_EXAMPLES = 2_000  # a call of the kernel: a team of threads waits for its slowest once a call
_KIND = ("widthwise.sparse_family", 1)


def train_sparse(
    family: SparseFamily,
    data: Pair,
    config: TrainConfig,
    *,
    seed: int,
    rates: Tensor | None = None,
    rule: Rule | None = None,
    validation: Pair | None = None,
    record_every: int = 10,
    progress: Progress | None = None,
    after_epoch: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train every network of a family in place, all on the same batches.

    Args:
        family: the networks.
        data: inputs ``(n, ...)`` and targets: class indices ``(n,)``, or values ``(n, outputs)``.
        config: epochs, batch size, learning rate and so on.
        seed: orders the examples, as in :func:`~widthwise.training.train`.
        rates: learning rate of each network instead of the config's; the schedule scales it.
        rule: how gradients become steps, instead of the config's momentum and weight decay.
        validation: set on which :func:`evaluate_sparse` is recorded, if any.
        record_every: epochs between two records; the last epoch is always recorded.
        progress: where to go on from; the family must hold the state of that moment.
        after_epoch: called with the progress after each epoch, to report or to save it.

    Returns:
        The progress at the end, the recorded curve in it.

    Raises:
        InputError: if the data are empty, not finite, or do not fit together, or no metric can be had on
            ``validation``.

    Warns:
        DivergenceWarning: once an epoch in which networks leave the finite numbers; the others go on.
    """
    x, y = _checked(family, data)
    if validation is not None:
        _objective(validation[1]).check_targets("validation", validation[1])
    rates = torch.full((len(family),), config.lr) if rates is None else rates
    progress = progress or Progress()
    rule = rule or Rule(config.momentum, config.weight_decay)
    if rule.remembers:
        progress.momentum.setdefault("theta", family.theta.new_zeros(1 + (rule.second > 0), len(family.theta)))
    steps, lost = -(-len(x) // config.batch_size), family.lost()
    for epoch in range(progress.epoch, config.epochs):
        factor, done = config.lr_at(epoch) / config.lr, epoch * steps
        before = family.theta.clone(), _copied(progress.momentum.get("theta"))
        for chosen in calls(order_of(len(x), seed, epoch), config.batch_size):
            moments = progress.momentum.get("theta")
            family.descend(x[chosen], y[chosen], rates * factor, rule, moments=moments, done=done)
            done += len(chosen)
        fresh = (family.lost() & ~lost).nonzero().flatten().tolist()
        if fresh:
            lost, twin = family.lost(), copy.copy(family)
            twin.theta = before[0]
            order = torch.split(order_of(len(x), seed, epoch), config.batch_size)
            again = _one_by_one(twin, (x, y), order, rates * factor, rule, before[1], epoch * steps)
            tell(fresh, len(family), epoch, again, lambda: twin.model(fresh[0]))  # noqa: B023
        progress.epoch = epoch + 1
        if validation is not None and (progress.epoch % record_every == 0 or progress.epoch == config.epochs):
            progress.curve.append((progress.epoch, evaluate_sparse(family, validation).tolist()))
        if after_epoch is not None:
            after_epoch(progress)
    return progress


def _copied(moments: Tensor | None) -> Tensor | None:
    return None if moments is None else moments.clone()


def _one_by_one(
    family: SparseFamily,
    data: Pair,
    order: tuple[Tensor, ...],
    rates: Tensor,
    rule: Rule,
    moments: Tensor | None,
    done: int,
) -> Iterator[Step]:
    """The steps of an epoch, each alone."""
    x, y = data
    for number, batch in enumerate(order):

        def step(batch: Tensor = batch, number: int = number) -> None:
            family.descend(x[batch][None], y[batch][None], rates, rule, moments=moments, done=done + number)

        yield x[batch][:, : family.inputs], step


def evaluate_sparse(family: SparseFamily, data: Pair, *, chunk: int = 2000) -> Tensor:
    """Accuracy, or for float targets R2, of each network on a whole set: ``(nets,)`` in float64; NaN if diverged."""
    x, y = data
    outputs = [family.forward(family.prepared(part)) for part in torch.split(x, chunk)]
    return _objective(y).score(torch.cat(outputs, 1), y)


def _objective(y: Tensor) -> Objective:
    return objective_for("regression" if y.is_floating_point() else "classification")


def save_progress(path: str | os.PathLike[str], family: SparseFamily, progress: Progress) -> None:
    """Write all that is needed to go on from here, atomically.

    Raises:
        OSError: if it cannot be written.
    """
    header = {"epoch": progress.epoch, "curve": progress.curve}
    write_tensors(path, *_KIND, header, {"parameters": family.theta, **progress.momentum})


def load_progress(path: str | os.PathLike[str], family: SparseFamily) -> Progress:
    """Read what :func:`save_progress` wrote into a family of the same networks.

    Raises:
        DataError: if the file is missing, damaged or of other networks.
    """
    header, tensors = read_tensors(path, *_KIND, {"epoch": int, "curve": list})
    theta = tensors.pop("parameters", torch.empty(0))
    if theta.shape != family.theta.shape or theta.dtype != family.theta.dtype:
        raise DataError(f"{os.fspath(path)}: holds other networks than these")
    family.theta.copy_(theta)
    return Progress(header["epoch"], tensors, [(epoch, values) for epoch, values in header["curve"]])


def calls(order: Tensor, batch: int) -> list[Tensor]:
    """Indices ``(steps, batch)`` of each call of the kernel; a smaller last batch is one of its own."""
    whole = len(order) // batch * batch
    most = max(1, _EXAMPLES // batch) * batch
    found = [part.view(-1, batch) for part in torch.split(order[:whole], most) if whole]
    return found if whole == len(order) else [*found, order[None, whole:]]


def _checked(family: SparseFamily, data: Pair) -> Pair:
    x, y = data
    if len(x) == 0 or len(x) != len(y):
        raise InputError(f"data: got {len(x)} inputs and {len(y)} targets, allowed are as many of both, at least one")
    if x[0].numel() != family.inputs:
        raise InputError(f"data: got {x[0].numel()} inputs an example, the networks take {family.inputs}")
    check_finite("data inputs", x)
    if y.is_floating_point():
        if y.shape != (len(x), family.outputs):
            raise InputError(f"data: got targets of shape {tuple(y.shape)}, allowed is {(len(x), family.outputs)}")
        return family.prepared(x), check_finite("data targets", y).to(family.theta.dtype)
    if y.dim() != 1 or y.min() < 0 or y.max() >= family.outputs:
        raise InputError(f"data: allowed are class indices 0 to {family.outputs - 1}, one an example")
    return family.prepared(x), y
