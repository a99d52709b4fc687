"""Pairs of consecutive layers: the outputs of the first are the inputs of the second, and of nothing else."""

from __future__ import annotations

import operator
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules import batchnorm, conv, dropout, pooling

from widthwise import activations
from widthwise._follow import follow
from widthwise.errors import InputError
from widthwise.widening.layers import owners

__all__ = ["Pair", "pairs"]

_LAYERS = (nn.Linear, conv.Conv1d, conv.Conv2d, conv.Conv3d)
_POOLS = (pooling._AvgPoolNd, pooling._MaxPoolNd, pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd)
_PASSING = (nn.Identity, dropout._DropoutNd, *_POOLS)
_PER_UNIT = (batchnorm._BatchNorm, nn.LayerNorm, nn.PReLU)
_FUNCTIONS: tuple[Any, ...] = (
    *(getattr(functional, f) for f in ("relu", "gelu", "silu", "elu", "selu", "softplus", "leaky_relu", "dropout")),
    *(getattr(functional, f) for f in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d")),
    *(torch.relu, torch.tanh, torch.sigmoid, torch.erf, torch.sin, torch.square, functional.tanh, functional.sigmoid),
    *("relu", "relu_", "tanh", "sigmoid", "contiguous", operator.mul, operator.truediv, operator.neg),
)
_FLATTENING: tuple[Any, ...] = (torch.flatten, "flatten", "view", "reshape")
_SIZES: tuple[Any, ...] = ("size", getattr)
_KNOWN = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)  # of torch, which symbols cannot enter


@dataclass(frozen=True)
class Pair:
    """Two consecutive layers, by name, and what holds a number for each unit between them.

    Attributes:
        first: the layer whose outputs are the inner units.
        second: the layer that reads them.
        between: normalisations and the like between the two.
        size: number of inner units.
        block: entries of the second layer's input for each unit; more than one where an image was flattened.
    """

    first: str
    second: str
    between: tuple[str, ...]
    size: int
    block: int = 1


def pairs(model: nn.Module) -> list[Pair]:
    """Every pair of consecutive layers, in the order in which they act; a layer may be in two.

    Found by following the forward pass symbolically: through activations, normalisation, pooling, dropout and
    flattening, as modules or as functions, as long as nothing else reads the units.

    Raises:
        InputError: if the forward pass cannot be followed.
    """
    found = [
        Pair(f"{name}.linear1".lstrip("."), f"{name}.linear2".lstrip("."), (), _outputs(module.linear1))
        for name, module in model.named_modules()
        if type(module) in _KNOWN
    ]
    if fx.Tracer().is_leaf_module(model, ""):
        return found
    try:
        graph = follow(model)
    except InputError as error:
        raise InputError(str(error).partition(";")[0]) from error
    once = _called_once(model, graph)
    for node in graph.nodes:
        if node.op == "call_module" and str(node.target) in once:
            pair = _pair_from(node, model, once)
            found += [] if pair is None else [pair]
    return found


def _called_once(model: nn.Module, graph: fx.Graph) -> set[str]:
    """Layers of their own weight, ungrouped, that the forward pass calls once."""
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    lone = {owning[0][0] for owning in owners(model).values() if len(owning) == 1}
    return {
        name
        for name in lone
        if calls.count(name) == 1
        and isinstance(model.get_submodule(name), _LAYERS)
        and model.get_submodule(name)._parameters.get("weight") is not None
        and getattr(model.get_submodule(name), "groups", 1) == 1
    }


def _pair_from(first: fx.Node, model: nn.Module, layers: Collection[str]) -> Pair | None:
    """The pair that begins at a layer, if the units go through what leaves them apart into one other layer."""
    enter, between, flat, node = model.get_submodule(str(first.target)), list[str](), False, first
    while (user := _only_user(node)) is not None:
        if user.op == "call_module":
            name, module = str(user.target), model.get_submodule(str(user.target))
            if name in layers:
                block = _block(enter, module, flat)
                return Pair(str(first.target), name, tuple(between), _outputs(enter), block) if block else None
            if isinstance(module, _PER_UNIT):
                if not _per_unit(module, enter):
                    return None
                between.append(name)
            elif isinstance(module, nn.Flatten) and module.start_dim == 1 and module.end_dim == -1:
                flat = True
            elif not (isinstance(module, _PASSING) or activations.of_module(module) is not None):
                return None
        elif user.target in _FLATTENING and _flattens(user):
            flat = True
        elif user.target not in _FUNCTIONS or user.all_input_nodes != [node]:
            return None
        node = user
    return None


def _only_user(node: fx.Node) -> fx.Node | None:
    users = [user for user in node.users if user.target not in _SIZES]
    return users[0] if len(users) == 1 else None


def _flattens(node: fx.Node) -> bool:
    """Whether all but the examples is made one dimension: ``flatten(1)``, ``view(len, -1)``."""
    rest = node.args[1:]
    if node.target in (torch.flatten, "flatten"):
        return (rest or (node.kwargs.get("start_dim"),)) == (1,)
    return len(rest) == 2 and isinstance(rest[0], fx.Node) and bool(rest[1] == -1)


def _block(first: Any, second: Any, flat: bool) -> int:
    """How many inputs of the second layer belong to one output of the first; 0 if they do not match."""
    made, read = _outputs(first), int(second.weight.shape[1])
    if isinstance(first, nn.Linear) == isinstance(second, nn.Linear):
        return int(made == read)
    return read // made if flat and read % made == 0 else 0


def _per_unit(module: nn.Module, first: nn.Module) -> bool:
    """Whether a module between holds numbers for each output of the first layer, and nothing else."""
    count = _outputs(first)
    if isinstance(module, nn.PReLU):
        return bool(module.num_parameters in (1, count))
    if isinstance(module, nn.LayerNorm):
        return isinstance(first, nn.Linear) and tuple(module.normalized_shape) == (count,)
    return bool(getattr(module, "num_features", None) == count)


def _outputs(layer: Any) -> int:
    return int(layer.weight.shape[0])
