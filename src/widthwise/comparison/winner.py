"""The best network as a module of its own, taking raw inputs where its architecture is built in."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from widthwise._tensorfile import read_tensors
from widthwise.comparison.group import NET, Workplace
from widthwise.comparison.nets import make
from widthwise.comparison.plan import Plan, Run
from widthwise.comparison.result import Row
from widthwise.data import Splits
from widthwise.errors import DataError
from widthwise.masks import Mask
from widthwise.models import recipe_of
from widthwise.models.registry import Recipe, build, builder

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
        (_or_worst(result["validation"]), run) for run, result in results if _kind(run) == (best.method, best.width)
    ]
    mine.sort(key=lambda pair: pair[0], reverse=True)
    run, state = _kept([run for _, run in mine], place)
    model = make(run, plan, splits.train).model
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise _lost(place) from error
    recipe = recipe_of(model)
    standardizing = None if recipe is None else _standardizing(recipe)
    return model.eval() if standardizing is None else _taking_raw_inputs(model, standardizing, splits).eval()


def _kind(run: Run) -> tuple[str, int]:
    return run.method, run.width


def _or_worst(validation: float | None) -> float:
    return -math.inf if validation is None else float(validation)


def _kept(runs: Sequence[Run], place: Workplace) -> tuple[Run, dict[str, Tensor]]:
    """The first network whose file can be read."""
    for run in runs:
        with suppress(DataError):
            return run, read_tensors(place.net(run), *NET, {})[1]
    raise _lost(place)


def _lost(place: Workplace) -> DataError:
    return DataError(
        f"{place.folder / 'nets'}: the best network's weights are missing or damaged although its result is stored; "
        f"remove {place.store} to train again, or choose another output folder"
    )


def _taking_raw_inputs(model: nn.Module, standardizing: Recipe, splits: Splits) -> nn.Module:
    """Fold the standardisation of inputs into a first layer, and that of targets into the last one."""
    whole = build(standardizing)
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


def _standardizing(recipe: Recipe) -> Recipe | None:
    """The recipe with a first layer that standardises, if its network can have one; inside that of bottlenecks."""
    network, arguments = recipe.arguments.get("network"), recipe.arguments.get("arguments")
    if isinstance(network, str) and isinstance(arguments, Mapping):
        inner = _standardizing(Recipe(network, arguments))
        return None if inner is None else Recipe(recipe.name, {**recipe.arguments, "arguments": inner.arguments})
    if "standardize" not in inspect.signature(builder(recipe.name)).parameters:
        return None
    return Recipe(recipe.name, {**recipe.arguments, "standardize": True})
