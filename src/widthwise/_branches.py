"""Find the residual branches of a network in the graph of its forward pass."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules import batchnorm, conv, dropout, instancenorm, pooling

from widthwise._follow import follow
from widthwise.errors import InputError

__all__ = ["Branch", "branch_of", "find_branches"]

_SUMS: tuple[Any, ...] = (operator.add, operator.iadd, torch.add, "add", "add_")
_PRODUCTS: tuple[Any, ...] = (operator.mul, operator.imul, torch.mul, "mul", "mul_")

# A factor on the input of these comes out as the same factor on their output.
_HOMOGENEOUS_MODULES = (
    dropout._DropoutNd,
    nn.Identity,
    nn.ReLU,
    nn.LeakyReLU,
    nn.Flatten,
    nn.Unflatten,
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
)
_HOMOGENEOUS: tuple[Any, ...] = (
    operator.getitem,
    torch.relu,
    torch.flatten,
    torch.reshape,
    torch.permute,
    torch.transpose,
    torch.mean,
    functional.relu,
    functional.leaky_relu,
    functional.dropout,
    functional.max_pool2d,
    functional.avg_pool2d,
    functional.adaptive_avg_pool2d,
    *("relu", "relu_", "flatten", "unflatten", "reshape", "view", "permute", "transpose", "contiguous", "mean"),
    *("squeeze", "unsqueeze", "to", "div", operator.truediv, torch.div),
)
_AFFINE = (
    nn.Linear,
    nn.Bilinear,
    conv._ConvNd,
    batchnorm._BatchNorm,
    instancenorm._InstanceNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)
# Layers of torch that add several branches each; which of their modules end one.
_KNOWN: dict[type[nn.Module], tuple[str, ...]] = {
    nn.TransformerEncoderLayer: ("self_attn", "linear2"),
    nn.TransformerDecoderLayer: ("self_attn", "multihead_attn", "linear2"),
}

_NO_FACTOR = "into which a factor cannot be folded exactly; let it end in a layer with weights or a learned scale"


@dataclass(frozen=True)
class Branch:
    """A residual branch.

    Attributes:
        ends: what ends it: one module or learned scale, or several that are added.
        parameters: the names of the parameters to which its output is proportional.
    """

    ends: tuple[str, ...]
    parameters: tuple[str, ...]

    def __add__(self, other: Branch) -> Branch:
        return Branch(self.ends + other.ends, self.parameters + other.parameters)

    def under(self, name: str) -> Branch:
        """The same branch as seen from a model in which its own is called ``name``."""
        return Branch(*(tuple(f"{name}.{part}" for part in parts) for parts in (self.ends, self.parameters)))


def find_branches(model: nn.Module) -> tuple[list[Branch], list[str]]:
    """Every residual branch of ``model``, and the sums of two tensors that are no residual sums.

    Raises:
        InputError: if the forward pass cannot be followed, or a branch ends in something without a factor.
    """
    known = [
        _affine(f"{name}.{end}" if name else end, module.get_submodule(end))
        for name, module in model.named_modules()
        for end in _KNOWN.get(type(module), ())
    ]
    if fx.Tracer().is_leaf_module(model, ""):
        return known, []
    graph = follow(model)
    depth = _depths(graph, model)
    found: list[Branch] = []
    others: list[str] = []
    for node in graph.nodes:
        sides = [arg for arg in node.args if isinstance(arg, fx.Node) and arg in depth]
        if node.target not in _SUMS or len(sides) != 2 or node not in depth:
            continue
        shallow, deep = sorted(sides, key=depth.__getitem__)
        if depth[shallow] == depth[deep]:
            others.append(f"{_where(shallow)} + {_where(deep)}")
            continue
        if node.kwargs.get("alpha", 1) != 1:
            raise InputError(
                f"model: the branch that ends in {_where(deep)} is scaled already, by {node.kwargs['alpha']:g}"
            )
        found.append(_end(deep, node, model))
    _check_calls(graph, found)
    return known + found, others


def branch_of(model: nn.Module, name: str) -> Branch:
    """The branch that the module called ``name`` computes.

    Raises:
        InputError: if it ends in something into which a factor cannot be folded.
    """
    module = model.get_submodule(name)
    if isinstance(module, (*_AFFINE, nn.MultiheadAttention)):
        return _affine(name, module)
    graph = follow(module)
    (output,) = (node for node in graph.nodes if node.op == "output")
    try:
        end = _end(output.args[0], output, module)
        _check_calls(graph, [end])
    except InputError as error:
        raise InputError(f"branches: in {name!r}, {str(error).removeprefix('model: ')}") from None
    return end.under(name) if name else end


def _depths(graph: fx.Graph, model: nn.Module) -> dict[fx.Node, int]:
    """For each node that depends on the input, the fewest layers with weights on a path to it."""
    depth: dict[fx.Node, int] = {}
    for node in graph.nodes:
        before = [depth[source] for source in node.all_input_nodes if source in depth]
        if node.op == "placeholder":
            depth[node] = 0
        elif before:
            depth[node] = min(before) + _has_weights(node, model)
    return depth


def _has_weights(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return any(p.dim() > 1 for p in model.get_submodule(str(node.target)).parameters())
    if node.op != "call_function" or node.target in _SUMS:
        return False
    return any(_is_parameter(source, model) for source in node.all_input_nodes)


def _is_parameter(node: Any, model: nn.Module) -> bool:
    return (
        isinstance(node, fx.Node)
        and node.op == "get_attr"
        and any(name == node.target for name, _ in model.named_parameters(remove_duplicate=False))
    )


def _end(node: Any, user: fx.Node, model: nn.Module) -> Branch:
    """The branch whose output is ``node``, found by walking back over what passes a factor through.

    Raises:
        InputError: if it is not proportional to any parameters, or they serve something else too.
    """
    if not isinstance(node, fx.Node):
        raise InputError(f"model: a branch ends in {node!r}, {_NO_FACTOR}")
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if not _only_for(user, node, module):
        raise InputError(f"model: the output of {_where(node)} ends a branch but is used elsewhere too")
    if isinstance(module, (*_AFFINE, nn.MultiheadAttention)):
        return _affine(str(node.target), module)
    if node.target in _SUMS and len(node.args) == 2:
        return _end(node.args[0], node, model) + _end(node.args[1], node, model)
    if node.target in _PRODUCTS:
        scales = [str(arg.target) for arg in node.args if isinstance(arg, fx.Node) and _is_parameter(arg, model)]
        if scales:
            return Branch((scales[0],), (scales[0],))
        factors = [arg for arg in node.args if isinstance(arg, fx.Node)]
        if len(factors) == 1:
            return _end(factors[0], node, model)
    if node.target in _HOMOGENEOUS or isinstance(module, _HOMOGENEOUS_MODULES):
        return _end(node.args[0], node, model)
    raise InputError(f"model: a branch ends in {_where(node)}, {_NO_FACTOR}")


def _only_for(user: fx.Node, node: fx.Node, module: nn.Module | None) -> bool:
    """Whether the output of ``node`` goes to ``user`` alone; of attention, the first output."""
    if isinstance(module, nn.MultiheadAttention):
        return sum(bool(use.target != operator.getitem or use.args[1] == 0) for use in node.users) == 1
    return set(node.users) == {user}


def _affine(name: str, module: nn.Module) -> Branch:
    """The branch that ends in an affine module: its weight and its bias.

    Raises:
        InputError: if it has no weight of its own, or one that is computed from others.
    """
    if isinstance(module, nn.MultiheadAttention):
        return Branch((name,), _affine(f"{name}.out_proj" if name else "out_proj", module.out_proj).parameters)
    if module._parameters.get("weight") is None:
        raise InputError(f"model: a branch ends in {name!r}, a {type(module).__name__} without a weight to scale")
    keys = [key for key in ("weight", "bias") if module._parameters.get(key) is not None]
    return Branch((name,), tuple(f"{name}.{key}" if name else key for key in keys))


def _check_calls(graph: fx.Graph, found: Sequence[Branch]) -> None:
    """Refuse modules that end a branch in one call and do something else in another."""
    ends = [name for branch in found for name in branch.ends]
    for name in set(ends):
        calls = sum(node.target == name for node in graph.nodes if node.op == "call_module")
        if calls > ends.count(name):
            raise InputError(f"model: {name!r} ends a branch but is called elsewhere too, so cannot be scaled")


def _where(node: fx.Node) -> str:
    """A node in a message: a module by its name, a function by the module that comes before it or that calls it."""
    if node.op == "call_module":
        return repr(str(node.target))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    sources = list(node.all_input_nodes)
    for source in sources:  # which grows, the nearest first
        if source.op == "call_module":
            return f"{name} after {str(source.target)!r}"
        sources += [further for further in source.all_input_nodes if further not in sources]
    calling = [str(path) for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
    return f"{name} in {calling[-1]!r}" if calling else str(name)
