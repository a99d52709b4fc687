"""How the estimators train: Adam in random batches, on one network, until the end or until it gets no better."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.training.divergence import Step, where_lost
from widthwise.training.sparse_family import Rule
from widthwise.training.sparse_loop import calls

__all__ = ["Engine", "Examples", "History", "Settings", "pass_over", "run_epochs", "threads"]


class Engine(Protocol):
    """What trains: a native family of one network, or one masked network."""

    @property
    def theta(self) -> Tensor:
        """All weights and biases in one line."""

    def load(self, theta: Tensor) -> None:
        """Take over weights as ``theta`` has them."""

    def prepared(self, x: Tensor) -> Tensor:
        """Examples as the other methods read them."""

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(1, n, outputs)``."""

    def model(self, index: int) -> nn.Module:
        """The network as a module, its pruned weights zero."""

    def descend(
        self, x: Tensor, y: Tensor, rates: Tensor, rule: Rule, *, weights: Tensor, moments: Tensor, done: int
    ) -> None:
        """Some steps on ``(steps, batch, ...)`` examples with their weights."""


@dataclass(frozen=True)
class Examples:
    """Prepared inputs, targets (codes or columns) and weights of mean 1."""

    x: Tensor
    y: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def loss(self, engine: Engine) -> float:
        """Weighted mean of the cross-entropies, or of the squared errors."""
        outputs = engine.forward(self.x)[0]
        if self.y.is_floating_point():
            losses = (outputs - self.y).square().mean(1)
        else:
            losses = functional.cross_entropy(outputs, self.y, reduction="none")
        return float((losses * self.weights).mean())


@dataclass(frozen=True)
class Settings:
    """How to train; the names are the estimators'."""

    max_iter: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    n_iter_no_change: int
    tol: float
    verbose: bool
    early_stopping: bool
    validation_fraction: float

    @property
    def rule(self) -> Rule:
        """Adam, with PyTorch's numbers."""
        return Rule(0.9, self.weight_decay, 0.999)


@dataclass
class History:
    """What training leaves behind.

    Attributes:
        moments: of Adam.
        steps: done so far.
        losses: on the training examples after each epoch.
        validation: on the others, if there are any.
    """

    moments: Tensor
    steps: int = 0
    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)


def run_epochs(
    engine: Engine,
    train: Examples,
    validation: Examples | None,
    settings: Settings,
    history: History,
    source: torch.Generator,
) -> None:
    """Train for ``max_iter`` epochs, the rate falling as a cosine; with validation, until it gets no better.

    In the latter case the weights of the best epoch are what remains.
    """
    best, best_theta, since = math.inf, engine.theta.clone(), 0
    for epoch in _watched(settings):
        rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / settings.max_iter))
        pass_over(engine, train, rate, settings, history, source)
        if validation is None:
            continue
        history.validation.append(validation.loss(engine))
        since = 0 if history.validation[-1] < best - settings.tol else since + 1
        if history.validation[-1] < best:
            best, best_theta = history.validation[-1], engine.theta.clone()
        if since >= settings.n_iter_no_change:
            break
    if validation is not None:
        engine.load(best_theta)


def pass_over(
    engine: Engine, train: Examples, rate: float, settings: Settings, history: History, source: torch.Generator
) -> None:
    """One epoch at one rate.

    Raises:
        InputError: if the network leaves the finite numbers; the message names the step and the layer where it began.
    """
    before, state = (engine.theta.clone(), history.moments.clone(), history.steps), source.get_state()
    for chosen in calls(torch.randperm(len(train), generator=source), settings.batch_size):
        engine.descend(
            train.x[chosen], train.y[chosen], torch.tensor([rate]), settings.rule,
            weights=train.weights[chosen], moments=history.moments, done=history.steps,
        )  # fmt: skip
        history.steps += len(chosen)
    history.losses.append(train.loss(engine))
    if not (math.isfinite(history.losses[-1]) and engine.theta.isfinite().all()):
        order = torch.randperm(len(train), generator=source.set_state(state))
        engine.load(before[0])
        again = _one_by_one(engine, train, torch.split(order, settings.batch_size), rate, settings, *before[1:])
        step, said = where_lost(again, lambda: copy.deepcopy(engine.model(0)))
        raise InputError(
            f"learning_rate: got {settings.learning_rate:g}, but training diverged in epoch {len(history.losses)}, step"
            f" {step}: {said}; allowed is a rate that keeps it finite, or scale the targets"
        )


def _one_by_one(
    engine: Engine,
    train: Examples,
    order: tuple[Tensor, ...],
    rate: float,
    settings: Settings,
    moments: Tensor,
    done: int,
) -> Iterator[Step]:
    """The steps of an epoch, each alone."""
    features = next(engine.model(0).parameters()).shape[1]  # without the column of ones that kernels read
    for number, chosen in enumerate(order):

        def step(chosen: Tensor = chosen, number: int = number) -> None:
            engine.descend(
                train.x[chosen][None], train.y[chosen][None], torch.tensor([rate]), settings.rule,
                weights=train.weights[chosen][None], moments=moments, done=done + number,
            )  # fmt: skip

        yield train.x[chosen][:, :features], step


@contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Within it PyTorch has so many threads: one by default, all for -1."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if n_jobs is None else before if n_jobs < 0 else n_jobs)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _watched(settings: Settings) -> Iterator[int]:
    """Epochs, on a bar where that is wanted; the first waits for the kernels, a new machine's for their compilation."""
    if not settings.verbose:
        yield from range(settings.max_iter)
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("loading kernels, at first compiling them", total=settings.max_iter)
        for epoch in range(settings.max_iter):
            yield epoch
            bar.update(task, description="training", advance=1)
