"""Prune a network while it is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from widthwise.errors import InputTypeError, check_integer
from widthwise.masks import Mask
from widthwise.pruning.allocation import exponential_schedule, target_count
from widthwise.pruning.api import prune
from widthwise.pruning.batches import Data
from widthwise.pruning.gradients import Loss
from widthwise.pruning.scores.registry import Score, find_method
from widthwise.weights import prunable

__all__ = ["train_prune_repeat"]


def train_prune_repeat(
    model: nn.Module,
    train: Callable[[nn.Module], Any],
    sparsity: float | None = None,
    method: str | Score = "obd",
    data: Data | None = None,
    loss: Loss | None = None,
    *,
    budget: int | None = None,
    cycles: int = 5,
    scope: str = "global",
    examples_per_class: int | None = None,
    seed: int = 0,
    on_collapse: str = "raise",
) -> Mask:
    """Train, prune, and again; then train what is left.

    The number of weights falls by the same factor in each cycle. A mask in force at the start is pruned further.

    Source: LeCun, Denker and Solla, "Optimal brain damage", 1990, section 2.

    Args:
        model: any module; trained and pruned in place.
        train: called with the model, ``cycles + 1`` times; the mask in force keeps pruned weights zero.
        sparsity: fraction of the prunable weights to remove in the end, in [0, 1).
        method: as in :func:`widthwise.prune`.
        data: as in :func:`widthwise.prune`.
        loss: as in :func:`widthwise.prune`.
        budget: number of weights to keep in the end, instead of ``sparsity``.
        cycles: number of times to train and prune.
        scope: as in :func:`widthwise.prune`.
        examples_per_class: as in :func:`widthwise.prune`.
        seed: as in :func:`widthwise.prune`.
        on_collapse: as in :func:`widthwise.prune`.

    Returns:
        The mask, in force on ``model``.

    Raises:
        InputError: as :func:`widthwise.prune`.
        InputTypeError: if ``train`` cannot be called.
        CollapseError: as :func:`widthwise.prune`, in the cycle in which it happens.
    """
    if not callable(train):
        raise InputTypeError(f"train: got {type(train).__name__}, allowed is a function of the model")
    check_integer("cycles", cycles, 1)
    find_method(method)
    keep = target_count(sum(weight.numel() for weight in prunable(model).values()), sparsity, budget)
    mask = Mask.of(model) or Mask.dense(model)
    for count in exponential_schedule(mask.kept, keep, cycles):
        train(model)
        mask = prune(
            model,
            method=method,
            data=data,
            loss=loss,
            budget=count,
            scope=scope,
            examples_per_class=examples_per_class,
            seed=seed,
            on_collapse=on_collapse,
        )
    train(model)
    return mask
