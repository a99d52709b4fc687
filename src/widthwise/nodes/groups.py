"""Where the nodes of a model are: dense units, channels or heads, between the layers that make and that read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, dropout, pooling

from widthwise import activations
from widthwise.errors import InputError, check_type
from widthwise.models.node_layers import NodeScaled, NodeScaledAttention

__all__ = ["SHALLOW", "NodeGroup", "group_of", "node_groups"]

SHALLOW = "nodes"
"""Name of the only group of a :class:`~widthwise.models.Shallow` network."""

_WEIGHTED = (nn.Linear, conv._ConvNd)
_PER_NODE = (NodeScaled, batchnorm._BatchNorm)
_POOLS = (pooling._AvgPoolNd, pooling._MaxPoolNd, pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd)
_PASSING = (nn.Identity, nn.Flatten, dropout._DropoutNd, *_POOLS)
_PAIRS: dict[type[nn.Module], tuple[str, str]] = {
    nn.TransformerEncoderLayer: ("linear1", "linear2"),
    nn.TransformerDecoderLayer: ("linear1", "linear2"),
}


@dataclass(frozen=True)
class NodeGroup:
    """The nodes between layers, all by their names in the model.

    Attributes:
        enters: layers whose outputs are the nodes: one, or query, key and value of attention.
        leaves: the layer that reads them, and nothing else does.
        between: what stands between and holds numbers for each node: :class:`~widthwise.models.NodeScaled`, BatchNorm.
        count: number of nodes; each has as many consecutive entries in the layers as fit.
    """

    enters: tuple[str, ...]
    leaves: str
    between: tuple[str, ...]
    count: int


def node_groups(model: nn.Module) -> dict[str, NodeGroup]:
    """Find the groups of nodes that can be ranked and removed; named after the (first) layer that makes them.

    Found are the hidden layers of every ``nn.Sequential``, nested ones too, the heads of
    :class:`~widthwise.models.NodeScaledAttention` and the hidden units of PyTorch's transformer layers. For other
    architectures make a :class:`NodeGroup` yourself. A shallow network has none here: its nodes are its own.

    Raises:
        InputTypeError: if ``model`` is no module.

    Example:
        >>> from widthwise.models import mlp
        >>> list(node_groups(mlp(4, 2, width=8, depth=2)))
        ['hidden1', 'hidden2']
    """
    check_type("model", model, nn.Module)
    found: dict[str, NodeGroup] = {}
    done: set[str] = set()
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, nn.Sequential) and not any(name == d or name.startswith(f"{d}.") for d in done):
            done.add(name)
            found |= _in_chain(list(_flattened(prefix, module)))
        elif isinstance(module, NodeScaledAttention):
            enters = tuple(f"{prefix}{part}" for part in ("query", "key", "value"))
            heads = len(module.heads.lam)
            found[name or "heads"] = NodeGroup(enters, f"{prefix}output", (f"{prefix}heads",), heads)
        elif type(module) in _PAIRS:
            enter, leave = (f"{prefix}{part}" for part in _PAIRS[type(module)])
            found[enter] = NodeGroup((enter,), leave, (), _outputs(model.get_submodule(enter)))
    return found


def group_of(model: nn.Module, name: str) -> NodeGroup:
    """The group of a name.

    Raises:
        InputError: if there is none; the message lists them.
    """
    groups = node_groups(model)
    if name not in groups:
        raise InputError(f"nodes: the model has no group {name!r}, allowed are {', '.join(groups) or 'none'}")
    return groups[name]


def _flattened(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers in the order in which they act; a scaled layer first, then its scaling."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential):
            yield from _flattened(f"{prefix}{name}.", child)
        elif type(child) is NodeScaled:
            inner = child.layer
            if isinstance(inner, nn.Sequential):
                yield from _flattened(f"{prefix}{name}.layer.", inner)
            else:
                yield f"{prefix}{name}.layer", inner
            yield f"{prefix}{name}", child
        else:
            yield f"{prefix}{name}", child


def _in_chain(layers: list[tuple[str, nn.Module]]) -> dict[str, NodeGroup]:
    shared = {id(m) for i, (_, m) in enumerate(layers) for _, other in layers[:i] if m is other}
    found: dict[str, NodeGroup] = {}
    enter: tuple[str, nn.Module] | None = None
    between: list[str] = []
    for name, layer in layers:
        plain = isinstance(layer, _WEIGHTED) and getattr(layer, "groups", 1) == 1 and id(layer) not in shared
        if isinstance(layer, _WEIGHTED):
            if enter is not None and plain:
                found[enter[0]] = NodeGroup((enter[0],), name, tuple(between), _outputs(enter[1]))
            enter, between = ((name, layer) if plain else None), []
        elif isinstance(layer, _PER_NODE):
            between.append(name)
        elif not isinstance(layer, _PASSING) and activations.of_module(layer) is None:
            enter = None
    return found


def _outputs(layer: nn.Module) -> int:
    return len(check_type("weight", layer.weight, Tensor))
