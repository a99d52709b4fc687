"""What a task minimises, and what it is judged by; both for a whole stack of networks at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from widthwise.errors import InputError, check_choice

if TYPE_CHECKING:
    from widthwise.data import Splits

__all__ = ["Objective", "objective_for", "objective_of"]


@dataclass(frozen=True)
class Objective:
    """Loss and metric of a task.

    Attributes:
        task: ``"classification"`` (cross-entropy, accuracy) or ``"regression"`` (mean squared error, R2).
        metric: the metric's name; larger is better.
    """

    task: str
    metric: str

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of each network.

        Args:
            outputs: ``(nets, batch, k)``.
            targets: ``(nets, batch)`` class indices or ``(nets, batch, k)`` values.

        Returns:
            ``(nets,)``.
        """
        if self.task == "regression":
            return (outputs - targets).square().mean(dim=(1, 2))
        flat = F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
        return flat.view(targets.shape).mean(1)

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Gradient of each network's mean loss with respect to its own outputs, ``(nets, batch, k)``."""
        if self.task == "regression":
            return (outputs - targets).mul_(2 / (outputs.shape[1] * outputs.shape[2]))
        grad = outputs.softmax(-1)
        minus_one = grad.new_full((), -1.0).expand(*targets.shape, 1)
        return grad.scatter_add_(-1, targets.unsqueeze(-1), minus_one).div_(outputs.shape[1])

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The metric of each network on a whole set; NaN where a network's outputs are not finite.

        Args:
            outputs: ``(nets, n, k)``.
            targets: ``(n,)`` class indices or ``(n, k)`` values, shared by all networks.

        Returns:
            ``(nets,)`` in float64: fraction correct, or the mean over targets of ``1 - SS_res / SS_tot``; NaN without
            examples.

        Raises:
            InputError: for a regression target that never varies.
        """
        self.check_targets("targets", targets)
        if not len(targets):
            value = outputs.new_full((len(outputs),), torch.nan, dtype=torch.float64)
        elif self.task == "regression":
            residual = (outputs.double() - targets.double()).square().sum(1)
            total = (targets.double() - targets.double().mean(0)).square().sum(0)
            value = (1 - residual / total.clamp_min(torch.finfo(torch.float64).tiny)).mean(-1)
        else:
            value = (outputs.argmax(-1) == targets).double().mean(-1)
        return value.masked_fill(~outputs.isfinite().flatten(1).all(1), torch.nan)

    def check_targets(self, name: str, targets: Tensor) -> None:
        """Refuse targets by which the metric is not defined, as R2 is not by those of one example.

        Args:
            name: of the argument or the part of the data, for the message.
            targets: as :meth:`score` takes them.

        Raises:
            InputError: for a regression target that never varies.
        """
        if self.task != "regression" or not len(targets):
            return
        constant = torch.nonzero((targets.amax(0) == targets.amin(0)).flatten())
        if len(constant):
            raise InputError(
                f"{name}: got target {int(constant[0])} the same in all of {len(targets)} examples, by which no R2 can "
                "be had; allowed are targets that vary, as of more examples or a larger share of them"
            )


def objective_for(task: str) -> Objective:
    """The objective of ``"classification"`` or ``"regression"``.

    Raises:
        InputError: for another task.
    """
    check_choice("task", task, ("classification", "regression"))
    return Objective(task, "accuracy" if task == "classification" else "R2")


def objective_of(splits: Splits) -> Objective:
    """The objective of a data set, whose metric is defined on its validation and test parts.

    Raises:
        InputError: if it is not defined on one of them, which the message names.
    """
    objective = objective_for(splits.task)
    for part, (_, y) in (("validation", splits.validation), ("test", splits.test)):
        objective.check_targets(f"{splits.name}, {part} part", y)
    return objective
