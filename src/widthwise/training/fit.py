"""One network, as large as may be: alone or under ``torchrun``, in mixed precision, resumed in the middle of an epoch.

The order of examples is that of :func:`widthwise.training.train` for the same seed, and a step is the same step: SGD
on the mean loss of a batch of ``batch_size``, which the ranks share out. So one process, several processes and a family
give the same network up to rounding, unless a layer mixes the examples of a batch: BatchNorm sees its rank's share.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from widthwise._finite import first_not_finite
from widthwise.errors import InputError, check_choice, check_integer, check_path, check_type
from widthwise.training.config import TrainConfig
from widthwise.training.loop import Pair, checked, order_of
from widthwise.training.objective import Objective
from widthwise.training.ranks import Ranks, mask_digest
from widthwise.training.saved import Saver

__all__ = ["fit"]

PRECISIONS = {"full": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CHUNK = 500  # examples evaluated at a time

Watch = Callable[[float, float, str], None]


def fit(
    model: nn.Module,
    data: Pair,
    config: TrainConfig,
    objective: Objective,
    *,
    seed: int = 0,
    precision: str = "full",
    validation: Pair | None = None,
    record_every: int = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: float = 60.0,
    watch: Watch | None = None,
) -> list[tuple[int, float]]:
    """Train a network in place.

    Where ``torch.distributed`` is initialised (:func:`joined`), call it on every rank with the same arguments: each
    takes its share of every batch and all end with the same weights, bit for bit. Pruned weights stay zero.

    Args:
        model: any module, on the device to train on.
        data: inputs ``(n, ...)`` and targets ``(n,)`` or ``(n, k)``, whole on every rank; on any device.
        config: epochs, batch size over all ranks, learning rate and so on.
        objective: loss and metric.
        seed: orders the examples, and draws what random layers draw.
        precision: ``"full"``, that of the weights; or ``"bfloat16"`` or (on CUDA, gradients scaled) ``"float16"`` where
            autocast holds them exact enough.
        validation: set on which the metric is recorded, if any.
        record_every: epochs between two records; the last epoch is always recorded.
        checkpoint: a file on rank 0's machine, written now and then, from which the same call goes on to the same
            weights, bit for bit on as many ranks.
        save_every: seconds between two checkpoints; 0 for one a step.
        watch: told the steps done, of how many, and the epoch.

    Returns:
        ``(epoch, metric)`` on the validation set.

    Raises:
        InputError: if the data are empty, not finite, or do not match; no metric can be had on ``validation``; masks
            differ between ranks; a batch has less examples than there are ranks; the checkpoint is that of another
            training; or the loss or a weight becomes NaN or infinite: the message names the step and the first layer
            to make such a value.
        OSError: if the checkpoint cannot be written.
    """
    x, y = checked(data, "data")
    ranks = Ranks.now()
    _check(model, config, precision, ranks)
    if validation is not None:
        objective.check_targets("validation", validation[1])
    check_integer("record_every", record_every, 1)
    ranks.check_masks(model)
    task = _task(model, config, objective, seed, precision, len(x))
    place = None if checkpoint is None else Path(check_path("checkpoint", checkpoint))
    run = _Run(model, (x, y), config, objective, seed, precision, ranks, Saver(place, save_every, task, ranks))
    steps = -(-len(x) // config.batch_size)
    while run.at.epoch < config.epochs:
        for done in run.epoch():
            if watch is not None:
                watch(run.at.epoch * steps + done, config.epochs * steps, f"epoch {run.at.epoch + 1}")
        run.check_weights()
        run.at.epoch, run.at.step = run.at.epoch + 1, 0
        if validation is not None and (run.at.epoch % record_every == 0 or run.at.epoch == config.epochs):
            run.record(validation)
        run.save(always=run.at.epoch == config.epochs)
    for buffer in model.buffers():  # statistics of a rank's own share
        ranks.spread(buffer)
    return run.at.curve


class _Run:
    """A training under way."""

    def __init__(
        self,
        model: nn.Module,
        data: Pair,
        config: TrainConfig,
        objective: Objective,
        seed: int,
        precision: str,
        ranks: Ranks,
        saver: Saver,
    ) -> None:
        self._model, self._data, self._config, self._objective = model, data, config, objective
        self._seed, self._ranks, self._saver = seed, ranks, saver
        self._device = next(model.parameters()).device
        self._dtype = PRECISIONS[precision]
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._dtype is torch.float16)
        self._optimizer = torch.optim.SGD(
            model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
        self.at = saver.restore(model, self._optimizer, self._scaler)
        self._network = ranks.wrapped(model)

    def epoch(self) -> Iterator[int]:
        """The rest of an epoch; yields the number of steps done."""
        at, x = self.at, self._data[0]
        self._network.train()
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.lr_at(at.epoch)
        batches = torch.split(order_of(len(x), self._seed, at.epoch), self._config.batch_size)
        for batch in batches[at.step :]:
            with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
                torch.manual_seed(_draw(self._seed, at.epoch, at.step, self._ranks.rank))
                self._step(batch)
            at.step += 1
            if at.step < len(batches):
                self.save()
            yield at.step

    def _step(self, batch: Tensor) -> None:
        mine, weight = self._ranks.share(batch)
        x, y = (part[mine.to(part.device)].to(self._device) for part in self._data)
        with self._cast():
            loss = self._objective.losses(self._network(x)[None], y[None]).sum() * weight
        if self._ranks.any_of(not loss.isfinite()):
            raise InputError(f"loss: got {loss.item()} {self._place()}; {self._cause(loss, x)}")
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # of PyTorch
        self._scaler.step(self._optimizer)
        self._scaler.update()

    def check_weights(self) -> None:
        """Refuse weights that the last update carried out of the finite numbers; they are the same on every rank."""
        for name, weight in self._model.named_parameters():
            if not weight.isfinite().all():
                raise InputError(f"model: {name!r} holds values that are NaN or infinite {self._place()}")

    def _cause(self, loss: Tensor, x: Tensor) -> str:
        """What is first not finite in a step whose loss is so, here or on another rank."""
        if loss.isfinite():
            return "that of another rank is NaN or infinite"
        with self._cast():
            return first_not_finite(self._model, x) or "outputs are finite, the loss of them is not"

    def _place(self) -> str:
        return f"in epoch {self.at.epoch + 1}, step {self.at.step + 1}; a lower learning rate may keep it finite"

    def _cast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None)

    def record(self, data: Pair) -> None:
        """Add the metric to the curve; rank 0 works it out."""
        value = torch.zeros((), dtype=torch.float64, device=self._device)
        if self._ranks.rank == 0:
            self._model.eval()
            with torch.no_grad(), self._cast():
                outputs = [self._model(part.to(self._device)) for part in torch.split(data[0], _CHUNK)]
            value = self._objective.score(torch.cat(outputs)[None], data[1].to(self._device))[0]
        self._ranks.spread(value)
        self.at.curve.append((self.at.epoch, float(value)))

    def save(self, *, always: bool = False) -> None:
        """Write the checkpoint if it is time."""
        self._saver.maybe(self.at, self._model, self._optimizer, self._scaler, always=always)


def _check(model: nn.Module, config: TrainConfig, precision: str, ranks: Ranks) -> None:
    first = next(check_type("model", model, nn.Module).parameters(), None)
    if first is None:
        raise InputError("model: has no parameters, allowed is a module that can be trained")
    check_choice("precision", precision, PRECISIONS)
    if precision == "float16" and first.device.type != "cuda":
        raise InputError(f"precision: got 'float16' on {first.device.type}, allowed there are 'full' and 'bfloat16'")
    if config.batch_size < ranks.world:
        raise InputError(
            f"batch_size: got {config.batch_size}, allowed is at least one example for each of {ranks.world} ranks"
        )


def _task(model: nn.Module, config: TrainConfig, objective: Objective, seed: int, precision: str, examples: int) -> str:
    """Content hash of what a checkpoint belongs to."""
    shapes = [(name, tuple(value.shape), str(value.dtype)) for name, value in model.state_dict().items()]
    parts = (shapes, config, objective, seed, precision, examples, mask_digest(model))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _draw(seed: int, epoch: int, step: int, rank: int) -> int:
    """A seed of its own for every step of every rank, so that a resumed training draws the same."""
    digest = hashlib.sha256(f"step/{seed}/{epoch}/{step}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
