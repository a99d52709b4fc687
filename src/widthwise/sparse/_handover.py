"""Which layers hand their result to sparse layers alone, so that it may stay batch last in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import torch
from torch import fx, nn
from torch.nn import functional

from widthwise._follow import follow
from widthwise.errors import InputError

__all__ = ["handovers"]

# Element by element: what comes out lies as what goes in.
_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Dropout,
    nn.Identity,
)  # fmt: skip
_FUNCTIONS = (
    torch.relu, torch.tanh, torch.sigmoid, torch.erf, functional.relu, functional.gelu, functional.silu, functional.elu,
    functional.leaky_relu, functional.softplus, functional.dropout,
)  # fmt: skip
_METHODS = ("relu", "tanh", "sigmoid", "erf")


def handovers(model: nn.Module, sparse: Collection[str]) -> dict[str, str | None]:
    """Those of the ``sparse`` layers, by name, whose result goes to others of them alone.

    The value names a ``nn.ReLU`` that comes first, alone, and stands nowhere else, so that the layer may apply it
    itself; or is None. Empty for a model whose forward pass can't be followed.
    """
    try:
        graph = follow(model)
    except InputError:
        return {}
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")
    return {
        node.target: _relu(node, modules, calls)
        for node in graph.nodes
        if node.op == "call_module"
        and node.target in sparse
        and calls[id(modules[node.target])] == 1
        and all(_arrives(user, modules, sparse) for user in node.users)
    }


def _arrives(node: fx.Node, modules: dict[str, nn.Module], sparse: Collection[str]) -> bool:
    """Whether all that follows ``node`` is element by element until a sparse layer comes."""
    if node.op == "call_module" and node.target in sparse:
        return True
    return _element_wise(node, modules) and all(_arrives(user, modules, sparse) for user in node.users)


def _element_wise(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) in _MODULES
    return node.target in (_FUNCTIONS if node.op == "call_function" else _METHODS if node.op == "call_method" else ())


def _relu(node: fx.Node, modules: dict[str, nn.Module], calls: Counter[int]) -> str | None:
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    name = str(users[0].target)
    return name if type(modules[name]) is nn.ReLU and calls[id(modules[name])] == 1 else None
