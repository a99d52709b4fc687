"""Remove nodes for good: the model that comes out is smaller, dense and computes the same without them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from widthwise._finite import require_finite
from widthwise.errors import InputError, InputTypeError, check_function, check_integer, check_type
from widthwise.masks import Mask
from widthwise.models.node_scaled import Shallow
from widthwise.models.registry import forget
from widthwise.nodes.groups import SHALLOW, NodeGroup, group_of
from widthwise.nodes.importance import most_important

__all__ = ["remove_nodes", "risk_curve"]

Loss = Callable[[Tensor, Tensor], Tensor]


def remove_nodes(model: nn.Module, keep: Mapping[str, Tensor | Sequence[int]]) -> nn.Module:
    """A smaller model without the other nodes; the one given is not changed.

    Its outputs are those of the model with the outputs of the removed nodes set to zero.

    Args:
        model: a shallow network (2), which becomes a plain built-in perceptron, or any model whose groups of nodes
            :func:`~widthwise.nodes.node_groups` finds.
        keep: group's name -> indices of the nodes that stay, at least one; groups left out stay whole.

    Raises:
        InputError: for unknown groups, indices out of range or twice, an empty group, or a model under a mask.
        InputTypeError: for indices that are not whole numbers.

    Example:
        >>> from widthwise.models import mlp
        >>> remove_nodes(mlp(4, 2, width=8), {"hidden1": [0, 5]}).hidden1
        Linear(in_features=4, out_features=2, bias=True)
    """
    check_type("model", model, nn.Module)
    if Mask.of(model) is not None:
        raise InputError("model: it is under a mask; call Mask.remove(model) first, its zeros stay")
    kept = {name: _indices(name, v, _count(model, name)) for name, v in check_type("keep", keep, Mapping).items()}
    if isinstance(model, Shallow):
        return model.dense(kept.get(SHALLOW))
    smaller = copy.deepcopy(model)
    forget(smaller)
    for name, indices in kept.items():
        _cut(smaller, group_of(model, name), indices)
    return smaller


@torch.no_grad()
def risk_curve(
    model: nn.Module,
    X: Tensor,
    y: Tensor,
    scores: Mapping[str, Tensor],
    removed: Sequence[int],
    loss: Loss | None = None,
) -> Tensor:
    """The loss on a set after the least important nodes were removed, exactly, for each number of them.

    Args:
        model: as for :func:`remove_nodes`, in evaluation mode.
        X: examples.
        y: targets, as ``loss(model(X), y)`` takes them.
        scores: from :func:`~widthwise.nodes.importance`; nodes of several groups are ranked together, but the best of
            each group stays.
        removed: numbers of nodes, each below that of all less one a group; among equals the later node goes first.
        loss: of outputs and targets, a scalar; the mean squared error if omitted.

    Returns:
        ``(len(removed),)`` float64.

    Raises:
        InputError: for a number that is too large, scores that do not fit the model, or a loss that is NaN or infinite;
            the message names the first layer to make such a value.
    """
    for name, s in check_type("scores", scores, Mapping).items():
        if s.shape != (_count(model, name),):
            raise InputError(f"scores[{name!r}]: got shape {tuple(s.shape)}, allowed is ({_count(model, name)},)")
    if not scores:
        raise InputError("scores: got none, allowed are those of at least one group of nodes")
    of_outputs = _mean_squared_error if loss is None else check_function("loss", loss, "a function loss(output, y)")
    everything = torch.cat([_protected(s) for s in scores.values()])
    names = [name for name, s in scores.items() for _ in range(len(s))]
    places = torch.cat([torch.arange(len(s)) for s in scores.values()])
    order = most_important(everything, len(everything)).cpu()
    risks = []
    for count in removed:
        check_integer("removed", count, 0, len(order) - len(scores))
        stay = order[: len(order) - count].tolist()
        keep = {name: places[[i for i in stay if names[i] == name]].sort().values for name in scores}
        left = remove_nodes(model, keep)
        risk = torch.as_tensor(of_outputs(left(X), y)).detach()
        require_finite(risk, left, X)
        risks.append(float(risk))
    return torch.tensor(risks, dtype=torch.float64)


def _mean_squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs - y.reshape(outputs.shape)).square().mean()


def _protected(scores: Tensor) -> Tensor:
    """The same order, the best of all."""
    scores = scores.double().clone()
    scores[most_important(scores, 1)] = torch.finfo(scores.dtype).max
    return scores


def _count(model: nn.Module, name: str) -> int:
    if not isinstance(model, Shallow):
        return group_of(model, name).count
    if name != SHALLOW:
        raise InputError(f"nodes: got the group {name!r}, allowed is {SHALLOW!r} for a shallow network")
    return len(model.lam)


def _indices(name: str, indices: Tensor | Sequence[int], count: int) -> Tensor:
    """Increasing indices of the nodes that stay."""
    chosen = torch.as_tensor(indices)
    if chosen.dim() != 1 or not len(chosen):
        raise InputError(f"keep[{name!r}]: got shape {tuple(chosen.shape)}, allowed is a list of at least one node")
    if chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise InputTypeError(f"keep[{name!r}]: got {chosen.dtype}, allowed are whole numbers")
    distinct: Tensor = torch.unique(chosen.long())
    if len(distinct) != len(chosen) or distinct[0] < 0 or distinct[-1] >= count:
        raise InputError(
            f"keep[{name!r}]: got an index twice or outside 0 to {count - 1}, allowed is each at most once"
        )
    return distinct


def _cut(model: nn.Module, group: NodeGroup, keep: Tensor) -> None:
    """Shrink every tensor of the group, in place, and the sizes that its modules remember."""
    for name in group.enters:
        layer = model.get_submodule(name)
        _shrink(layer, ("weight", "bias"), 0, group.count, keep)
        _resize(layer, ("out_features", "out_channels"), group.count, len(keep))
    reader = model.get_submodule(group.leaves)
    _shrink(reader, ("weight",), 1, group.count, keep)
    _resize(reader, ("in_features", "in_channels"), group.count, len(keep))
    for name in group.between:
        layer = model.get_submodule(name)
        _shrink(layer, ("weight", "bias", "running_mean", "running_var", "lam"), 0, group.count, keep)
        _resize(layer, ("num_features",), group.count, len(keep))


def _shrink(module: nn.Module, names: Sequence[str], dim: int, count: int, keep: Tensor) -> None:
    for name in names:
        tensor = getattr(module, name, None)
        if not isinstance(tensor, Tensor):
            continue
        before, size, after = tensor.shape[:dim], tensor.shape[dim], tensor.shape[dim + 1 :]
        blocks = tensor.detach().reshape(*before, count, -1, *after).index_select(dim, keep.to(tensor.device))
        smaller = blocks.reshape(*before, size // count * len(keep), *after)
        if isinstance(tensor, nn.Parameter):
            setattr(module, name, nn.Parameter(smaller, tensor.requires_grad))
        else:
            setattr(module, name, smaller)


def _resize(module: nn.Module, names: Sequence[str], count: int, kept: int) -> None:
    for name in names:
        size = getattr(module, name, None)
        if isinstance(size, int):
            setattr(module, name, size // count * kept)
