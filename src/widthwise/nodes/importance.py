"""How much each node matters: by its scaling, by its scaling and weights, or by what it adds to the output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules import conv

from widthwise._finite import require_finite
from widthwise.errors import InputError, check_choice, check_finite, check_integer, check_type
from widthwise.models.node_layers import NodeScaled
from widthwise.models.node_scaled import Shallow
from widthwise.nodes.groups import SHALLOW, NodeGroup, node_groups

__all__ = ["KINDS", "importance", "most_important", "node_outputs"]

KINDS = ("activation", "lam", "lam_w2")


@torch.no_grad()
def importance(model: nn.Module, kind: str = "lam_w2", X: Tensor | None = None) -> dict[str, Tensor]:
    """The importance of every node of a trained model; larger matters more.

    Args:
        model: a shallow network (2), or any model in which :func:`node_groups` finds nodes.
        kind: ``"lam_w2"``: lambda_j |w_j|^2, w_j the weights that make node j; ``"lam"``: lambda_j alone, the published
            order, all ties where gamma is 1; ``"activation"``: lambda_j E[phi(Z_j)^2] |v_j|^2 over the examples ``X``,
            v_j the weights that read node j. Nodes that are not scaled count with lambda_j = 1/m.
        X: examples, needed for ``"activation"``.

    Returns:
        Group's name -> ``(nodes,)``; the only group of a shallow network is ``"nodes"``.

    Raises:
        InputError: for an unknown kind, a model without nodes, missing examples, or a result that is NaN or infinite;
            the message names the first layer to make it so.
    """
    check_choice("kind", kind, KINDS)
    check_type("model", model, nn.Module)
    if kind == "activation" and X is None:
        raise InputError("X: got None, but 'activation' needs examples")
    if isinstance(model, Shallow):
        importances = _of_shallow(model, kind, X)
        require_finite(importances, model, *(() if X is None else (X,)))
        return {SHALLOW: importances}
    groups = node_groups(model)
    if not groups:
        raise InputError("model: no hidden nodes found in it, allowed are models with hidden layers in nn.Sequential")
    found = {name: _of_group(model, group, kind, X) for name, group in groups.items()}
    require_finite(found, model, *(() if X is None else (X,)))
    return found


def most_important(scores: Tensor, k: int) -> Tensor:
    """Indices of the ``k`` most important nodes, most important first; among equals the earlier node goes first.

    Raises:
        InputError: if ``k`` is not between 1 and the number of nodes, or a score is not finite.
        InputTypeError: for scores that are no tensor.

    Example:
        >>> most_important(torch.tensor([1.0, 3.0, 1.0]), 2)
        tensor([1, 0])
    """
    check_finite("scores", check_type("scores", scores, Tensor))
    check_integer("k", k, 1, len(scores))
    return torch.argsort(scores, descending=True, stable=True)[:k]


def _of_shallow(model: Shallow, kind: str, X: Tensor | None) -> Tensor:
    lam = model.lam.double()
    if kind == "lam":
        return lam.clone()
    if kind == "lam_w2":
        return lam * model.weight.double().square().sum(1)
    assert X is not None
    return lam * model.features(X).double().square().mean(0) * len(model.sign)


def _of_group(model: nn.Module, group: NodeGroup, kind: str, X: Tensor | None) -> Tensor:
    lam = torch.full((group.count,), 1 / group.count, dtype=torch.float64)
    for name in group.between:
        layer = model.get_submodule(name)
        if isinstance(layer, NodeScaled):
            lam = layer.lam.double()
    if kind == "lam":
        return lam.clone()
    if kind == "lam_w2":
        weights = [_weight(model, name).view(group.count, -1) for name in group.enters]
        return lam.to(weights[0].device) * torch.stack([w.square().sum(1) for w in weights]).sum(0)
    assert X is not None
    outputs = node_outputs(model, group, X)
    reading = _weight(model, group.leaves).transpose(0, 1).reshape(group.count, -1).square().sum(1)
    return outputs.double().square().mean(tuple(d for d in range(outputs.dim()) if d != 1)) * reading


def node_outputs(model: nn.Module, group: NodeGroup, X: Tensor) -> Tensor:
    """What the nodes give to the layer that reads them, scaling included: ``(n, nodes, ...)``."""
    reader = model.get_submodule(group.leaves)
    with _listening(reader) as heard:
        model(X)
    (entering,) = heard
    if isinstance(reader, conv._ConvNd):
        return entering
    entering = entering.movedim(-1, 1)
    return entering.reshape(len(entering), group.count, -1, *entering.shape[2:])


def _weight(model: nn.Module, name: str) -> Tensor:
    weight: Tensor = check_type(f"{name}.weight", model.get_submodule(name).weight, Tensor)
    return weight.detach().double()


@contextmanager
def _listening(module: nn.Module) -> Iterator[list[Tensor]]:
    heard: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: heard.append(args[0].detach()))
    try:
        yield heard
    finally:
        handle.remove()
