"""How a network is trained: one frozen record."""

from __future__ import annotations

import math
from dataclasses import dataclass

from widthwise.errors import check_choice, check_integer, check_number

__all__ = ["SCHEDULES", "TrainConfig"]

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class TrainConfig:
    """Stochastic gradient descent, as the wider-nets paper runs it by default.

    Attributes:
        epochs: passes over the training set.
        batch_size: examples a step; the last batch of an epoch may be smaller.
        lr: learning rate of the first step.
        momentum: 0 for none.
        weight_decay: strength of the L2 penalty on every parameter.
        schedule: ``"constant"`` or ``"cosine"`` (to zero over all epochs).
    """

    epochs: int = 200
    batch_size: int = 100
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 1)
        check_integer("batch_size", self.batch_size, 1)
        check_number("lr", self.lr, 0, low_open=True)
        check_number("momentum", self.momentum, 0, 1, high_open=True)
        check_number("weight_decay", self.weight_decay, 0)
        check_choice("schedule", self.schedule, SCHEDULES)

    def lr_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
