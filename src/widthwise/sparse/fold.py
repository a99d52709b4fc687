"""BatchNorm folded into the layer before it, for inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from widthwise._follow import follow
from widthwise._scaled import carry_scaled
from widthwise.errors import InputError, check_type
from widthwise.models.registry import forget
from widthwise.sparse.batch_last import BatchLastBatchNorm2d
from widthwise.sparse.conv import SparseConv2d
from widthwise.sparse.linear import SparseLinear, SparseWeight

__all__ = ["fold_batch_norms"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, SparseLinear, SparseConv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchLastBatchNorm2d)


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """Give each layer that feeds a BatchNorm alone the latter's scale and shift, in place.

    The BatchNorm becomes an identity; numbers stay the same up to rounding, weights that are zero stay zero. Dense and
    sparse, linear and convolutional layers are folded into, wherever the forward pass can be followed. A BatchNorm
    stays where its layer is used or its weight is shared elsewhere, or where it keeps no statistics. Its features must
    be those of the layer, which for ``nn.Linear`` means an input of shape (N, features).

    Args:
        model: in evaluation mode.

    Returns:
        The same model.

    Raises:
        InputError: if the model is in training mode, in which BatchNorm is no fixed scale.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
    >>> fold_batch_norms(model)[1]
    Identity()
    """
    check_type("model", model, nn.Module)
    if model.training:
        raise InputError("model: is in training mode, allowed is evaluation mode; call model.eval()")
    shared = _repeated(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    twice = _repeated(id(module) for _, module in model.named_modules(remove_duplicate=False))
    for owner, layer, name in list(_pairs(model)):
        norm = owner.get_submodule(name)
        if {id(layer), id(norm)} & twice or shared & {id(parameter) for parameter in layer.parameters()}:
            continue
        _fold(layer, norm)
        owner.set_submodule(name, nn.Identity())
        forget(model)
    return model


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, Any, str]]:
    """A module, a layer of it, and the name of the BatchNorm in it that alone uses the layer's result."""
    try:
        nodes = list(follow(model).nodes)
    except InputError:  # its parts may be easier to follow
        for child in model.children():
            yield from _pairs(child)
        return
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(node.target)]) for node in nodes if node.op == "call_module")
    for node in nodes:
        source = node.args[0] if node.op == "call_module" and len(node.args) == 1 else None
        if not isinstance(source, torch.fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        layer, norm = modules[str(source.target)], modules[str(node.target)]
        if _is_foldable(layer, norm) and calls[id(layer)] == calls[id(norm)] == 1:
            yield model, layer, str(node.target)


def _is_foldable(layer: Any, norm: Any) -> bool:
    return (
        type(layer) in _LAYERS
        and type(norm) in _NORMS
        and norm.running_mean is not None
        and norm.num_features == (layer.shape[0] if isinstance(layer, SparseWeight) else len(layer.weight))
        and not norm.training
        and not getattr(layer, "clip", False)
    )


@torch.no_grad()
def _fold(layer: Any, norm: Any) -> None:
    carry_scaled(norm, layer)
    weight: Tensor = layer.values if isinstance(layer, SparseWeight) else layer.weight
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        shift = shift * norm.weight + norm.bias
        scale = scale * norm.weight
    if layer.bias is None:
        layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=weight.requires_grad)
    else:
        layer.bias.copy_(layer.bias * scale + shift)
    rows = scale.repeat_interleave(layer.pointers.diff()) if isinstance(layer, SparseWeight) else scale
    weight.copy_(weight * rows.view(-1, *[1] * (weight.dim() - 1)))


def _repeated(keys: Iterator[int]) -> set[int]:
    return {key for key, count in Counter(keys).items() if count > 1}
