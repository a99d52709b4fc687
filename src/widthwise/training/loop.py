"""The training loop: one for every network of the package, deterministic and resumable.

Every network sees the order of examples that its seed gives, whatever else is trained beside it, so a seed
names the same run alone and in a family.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from widthwise.errors import InputError, check_finite
from widthwise.training.config import TrainConfig
from widthwise.training.divergence import Step, tell
from widthwise.training.family import Family
from widthwise.training.objective import Objective

__all__ = ["Pair", "Progress", "checked", "evaluate", "order_of", "train"]

Pair = tuple[Tensor, Tensor]


@dataclass
class Progress:
    """Where a training run stands: all that is needed to go on from here.

    Attributes:
        epoch: epochs done.
        momentum: parameter name -> momentum buffer; empty before the first step and without momentum.
        curve: ``(epoch, metric of each network)`` on the validation set.
    """

    epoch: int = 0
    momentum: dict[str, Tensor] = field(default_factory=dict)
    curve: list[tuple[int, list[float]]] = field(default_factory=list)


def train(
    family: Family,
    data: Pair,
    config: TrainConfig,
    objective: Objective,
    *,
    seeds: Sequence[int],
    validation: Pair | None = None,
    record_every: int = 10,
    progress: Progress | None = None,
    after_step: Callable[[float], None] | None = None,
    after_epoch: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train every network of a family in place.

    Args:
        family: the networks.
        data: inputs ``(n, ...)`` and targets ``(n,)`` or ``(n, k)``, on the family's device.
        config: epochs, batch size, learning rate and so on.
        objective: loss and metric.
        seeds: for each network the seed that orders its examples.
        validation: set on which the metric is recorded, if any.
        record_every: epochs between two records; the last epoch is always recorded.
        progress: where to go on from; the family must hold the state of that moment.
        after_step: called with the epochs done, a fraction, after each step within an epoch.
        after_epoch: called with the progress after each epoch, to report or to save it.

    Returns:
        The progress at the end, the recorded curve in it.

    Raises:
        InputError: if the data are empty, not finite, or the numbers of examples or seeds do not match, or no metric
            can be had on ``validation``.

    Warns:
        DivergenceWarning: once an epoch in which networks leave the finite numbers; the others go on.
    """
    x, y = checked(data, "data")
    if validation is not None:
        objective.check_targets("validation", validation[1])
    if len(seeds) != len(family):
        raise InputError(f"seeds: got {len(seeds)} for {len(family)} networks, allowed is one a network")
    progress, lost = progress or Progress(), family.lost()

    def steps(of: Family, epoch: int, momentum: dict[str, Tensor]) -> Iterator[tuple[Tensor, Callable[[], None]]]:
        return _steps(of, x, y, config, objective, seeds, epoch, momentum)

    for epoch in range(progress.epoch, config.epochs):
        before = {} if lost.all() else _copied(family.state()), _copied(progress.momentum)
        for number, (_, step) in enumerate(steps(family, epoch, progress.momentum)):
            if number and after_step is not None:
                after_step(epoch + number * config.batch_size / len(x))
            step()
        fresh = (family.lost() & ~lost).nonzero().flatten().tolist()
        if fresh:
            lost = family.lost()
            twin = copy.deepcopy(family)
            twin.load_state(before[0])
            again: Iterator[Step] = ((x[b[fresh[0]]], step) for b, step in steps(twin, epoch, before[1]))
            tell(fresh, len(family), epoch, again, lambda: twin.model(fresh[0]).train())  # noqa: B023
        progress.epoch = epoch + 1
        if validation is not None and (progress.epoch % record_every == 0 or progress.epoch == config.epochs):
            progress.curve.append((progress.epoch, evaluate(family, validation, objective).tolist()))
        if after_epoch is not None:
            after_epoch(progress)
    return progress


def evaluate(family: Family, data: Pair, objective: Objective, *, chunk: int = 2000) -> Tensor:
    """The metric of each network on a whole set, ``(nets,)`` in float64; NaN for a diverged network.

    Args:
        family: the networks.
        data: inputs ``(n, ...)`` and targets, the same for all.
        objective: whose metric it is.
        chunk: examples at a time.
    """
    x, y = data
    outputs = [family.forward(part.expand(len(family), *part.shape)) for part in torch.split(x, chunk)]
    return objective.score(torch.cat(outputs, 1), y)


def _steps(
    family: Family,
    x: Tensor,
    y: Tensor,
    config: TrainConfig,
    objective: Objective,
    seeds: Sequence[int],
    epoch: int,
    momentum: dict[str, Tensor],
) -> Iterator[tuple[Tensor, Callable[[], None]]]:
    """The examples of each step of an epoch, ``(nets, batch)`` places, and what does it."""
    unique = sorted(set(seeds))
    orders = torch.stack([order_of(len(x), seed, epoch) for seed in unique])[[unique.index(s) for s in seeds]]
    lr = config.lr_at(epoch)
    for batch in torch.split(orders.to(x.device), config.batch_size, dim=1):

        def step(batch: Tensor = batch) -> None:
            _step(family.params, family.gradients(x[batch], y[batch], objective), momentum, lr, config)

        yield batch, step


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def order_of(n: int, seed: int, epoch: int) -> Tensor:
    """The order in which a seed sees ``n`` examples in an epoch."""
    digest = hashlib.sha256(f"order/{seed}/{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.randperm(n, generator=generator)


def _step(
    params: dict[str, Tensor],
    grads: dict[str, Tensor],
    momentum: dict[str, Tensor],
    lr: float,
    config: TrainConfig,
) -> None:
    """SGD as PyTorch defines it. A pruned weight is zero and so is its gradient: it stays where it is."""
    names = list(params)
    weights, steps = [params[n] for n in names], [grads[n] for n in names]
    if config.weight_decay:
        torch._foreach_add_(steps, weights, alpha=config.weight_decay)
    if config.momentum:
        if not momentum:
            momentum.update({n: torch.zeros_like(params[n]) for n in names})
        velocity = [momentum[n] for n in names]
        torch._foreach_mul_(velocity, config.momentum)
        torch._foreach_add_(velocity, steps)
        steps = velocity
    torch._foreach_add_(weights, steps, alpha=-lr)


def checked(data: Pair, name: str) -> Pair:
    """A pair of as many finite inputs as targets.

    Raises:
        InputError: if it is none.
    """
    x, y = data
    if len(x) == 0 or len(x) != len(y):
        raise InputError(f"{name}: got {len(x)} inputs and {len(y)} targets, allowed are as many of both, at least one")
    return check_finite(f"{name} inputs", x), check_finite(f"{name} targets", y)
