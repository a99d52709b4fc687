"""Which layers hand their result on to a ReLU, or to sparse layers, so that it may stay batch last on the way."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional

from widthwise._follow import follow
from widthwise.errors import InputError

__all__ = ["Handover", "handovers"]

# What comes out lies in memory as what goes in.
_ELEMENT_WISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Dropout,
    nn.Identity,
    torch.relu, torch.tanh, torch.sigmoid, torch.erf, functional.relu, functional.gelu, functional.silu, functional.elu,
    functional.leaky_relu, functional.softplus, functional.dropout,
    operator.add, operator.iadd, operator.sub, operator.mul, torch.add, torch.mul,
    "relu", "tanh", "sigmoid", "erf", "add", "add_", "mul",
)  # fmt: skip
# The same, once they are exchanged for their counterparts in :mod:`widthwise.sparse.batch_last`.
_CARRIERS = (nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
# They take their input as it lies, at worst by copying it.
_TAKERS = (
    nn.Linear, nn.Conv2d, nn.Flatten, nn.BatchNorm1d, nn.LayerNorm, torch.flatten, torch.mean, torch.sum,
    "flatten", "mean", "sum", "reshape",
)  # fmt: skip


@dataclass(frozen=True)
class Handover:
    """How a layer's result travels.

    Attributes:
        relu: name of a ``nn.ReLU`` that comes first, alone, and stands nowhere else, so that the layer may apply it
            itself; or None.
        batch_last: whether the result may be batch last, and reaches another sparse layer so.
        carriers: names of the layers to exchange for ones that keep what is batch last so.
    """

    relu: str | None
    batch_last: bool
    carriers: frozenset[str]


def handovers(model: nn.Module, sparse: Collection[str]) -> dict[str, Handover]:
    """How the results of the ``sparse`` layers travel, by name.

    Empty for a model whose forward pass can't be followed.
    """
    try:
        return _Map(model, sparse).handovers()
    except InputError:
        return {}


class _Map:
    """The ways through a model."""

    def __init__(self, model: nn.Module, sparse: Collection[str]) -> None:
        self._graph = follow(model)
        self._sparse = sparse
        self._modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
        self._calls = Counter(id(self._module(node)) for node in self._graph.nodes if node.op == "call_module")

    def handovers(self) -> dict[str, Handover]:
        found = {}
        for node in self._graph.nodes:
            if self._is_sparse(node) and self._calls[id(self._module(node))] == 1:
                ends, passed = self._reach(node)
                batch_last = all(map(self._takes, ends)) and any(map(self._is_sparse, ends))
                carriers = frozenset(str(one.target) for one in passed if self._kind(one) in _CARRIERS)
                found[str(node.target)] = Handover(
                    self._relu(node), batch_last, carriers if batch_last else frozenset()
                )
        return found

    def _reach(self, start: fx.Node) -> tuple[list[fx.Node], set[fx.Node]]:
        """Where the result of ``start`` ends up, and the operations it passes on the way."""
        ends, passed, open_ = [], set(), list(start.users)
        while open_:
            node = open_.pop()
            if self._kind(node) not in _ELEMENT_WISE + _CARRIERS or self._has_indices(node):
                ends.append(node)
            elif node not in passed:
                passed.add(node)
                open_ += node.users
        return ends, passed

    def _kind(self, node: fx.Node) -> object:
        """What a node calls: a type of module, a function or the name of a method."""
        if node.op == "call_module":
            return type(self._module(node))
        return node.target if node.op in ("call_function", "call_method") else None

    def _module(self, node: fx.Node) -> nn.Module:
        return self._modules[str(node.target)]

    def _is_sparse(self, node: fx.Node) -> bool:
        return node.op == "call_module" and node.target in self._sparse

    def _takes(self, node: fx.Node) -> bool:
        return self._is_sparse(node) or self._kind(node) in _TAKERS

    def _has_indices(self, node: fx.Node) -> bool:
        return node.op == "call_module" and getattr(self._module(node), "return_indices", False)

    def _relu(self, node: fx.Node) -> str | None:
        users = list(node.users)
        while len(users) == 1 and self._kind(users[0]) is nn.Identity:
            users = list(users[0].users)
        if len(users) != 1 or self._kind(users[0]) is not nn.ReLU:
            return None
        return str(users[0].target) if self._calls[id(self._module(users[0]))] == 1 else None
