"""The best network as a module of its own, taking raw inputs where its architecture is built in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from widthwise._tensorfile import read_tensors
from widthwise.comparison.group import NET, Workplace
from widthwise.comparison.nets import make
from widthwise.comparison.plan import Plan, Run
from widthwise.comparison.result import Row
from widthwise.data import Splits
from widthwise.masks import Mask
from widthwise.models import recipe_of
from widthwise.models.registry import Recipe, build

__all__ = ["load_winner"]


def load_winner(
    best: Row, plan: Plan, results: Sequence[tuple[Run, dict[str, Any]]], splits: Splits, place: Workplace
) -> nn.Module:
    """The network of the best row that did best on the validation set, its mask in force.

    Args:
        best: the row of rank 1.
        plan: the comparison.
        results: every run with its stored result.
        splits: the data, for their standardisation.
        place: where the trained networks lie.
    """
    mine = [
        (result["validation"], run)
        for run, result in results
        if (run.method, run.width) == (best.method, best.width) and place.net(run).exists()
    ]
    _, run = max(mine, key=lambda pair: -math.inf if pair[0] is None else pair[0])
    model = make(run, plan.architecture.build, splits.train).model
    model.load_state_dict(read_tensors(place.net(run), *NET, {})[1])
    recipe = recipe_of(model)
    return model.eval() if recipe is None else _taking_raw_inputs(model, recipe, splits).eval()


def _taking_raw_inputs(model: nn.Module, recipe: Recipe, splits: Splits) -> nn.Module:
    """Fold the standardisation of inputs into a first layer, and that of targets into the last one."""
    whole = build(Recipe(recipe.name, {**recipe.arguments, "standardize": True}))
    whole.to(next(model.parameters()).dtype)
    with torch.no_grad():
        whole.load_state_dict(model.state_dict(), strict=False)
        for name, value in (("mean", splits.mean), ("scale", splits.scale)):
            buffer = whole.get_buffer(f"standardize.{name}")
            buffer.copy_(value.flatten().expand_as(buffer))
        if splits.task == "regression":
            whole.get_parameter("output.weight").mul_(splits.target_scale.unsqueeze(1))
            whole.get_parameter("output.bias").mul_(splits.target_scale).add_(splits.target_mean)
    mask = Mask.of(model)
    if mask is not None:
        mask.apply(whole)
    return whole
