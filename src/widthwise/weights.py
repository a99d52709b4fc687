"""Which parameters of a model are weights that pruning may cut, and which models it cannot reach.

A weight is *prunable* if its parameter has two or more dimensions and is neither a bias nor a gain.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from widthwise.errors import InputError, check_type

__all__ = ["check_has_values", "check_not_sparse", "is_bias", "is_weight", "prunable", "unwrapped"]

_NAMED_BIAS = re.compile(".*bias(es)?")
_ABOUT_BIAS = re.compile(".*bias[^a-z].*")
_NAMED_GAIN = re.compile("original0|.*_g")  # of weight normalisation, new and old


def is_bias(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a bias by the last part of its name: ``bias`` at the end of it, as in ``in_proj_bias``.

    Where something follows, as in ``bias_k`` of attention, it is one only if its shape is that of a vector, with one
    dimension of more than 1 at most: a ``bias_matrix`` is a weight. A table named ``bias``, such as attention's of one
    value a head and relative position, is added to the scores and multiplies nothing: a bias, whatever its shape.

    >>> import torch
    >>> is_bias("attention.bias_k", torch.ones(1, 1, 8)), is_bias("bias_matrix", torch.ones(8, 8))
    (True, False)
    """
    last = name.rpartition(".")[2]
    if _NAMED_BIAS.fullmatch(last):
        return True
    return _ABOUT_BIAS.fullmatch(last) is not None and _is_vector(parameter)


def is_weight(name: str, parameter: Tensor) -> bool:
    """Whether pruning counts and cuts a parameter: it has two or more dimensions and is no bias, nor a gain.

    A gain scales whole units, as those of ``weight_norm`` do, of shape (n, 1, ...): zeros in it are dead units.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> [name for name, parameter in layer.named_parameters() if is_weight(name, parameter)]
    ['parametrizations.weight.original1']
    """
    gain = _NAMED_GAIN.fullmatch(name.rpartition(".")[2]) is not None and _is_vector(parameter)
    return parameter.dim() >= 2 and not gain and not is_bias(name, parameter)


def _is_vector(parameter: Tensor) -> bool:
    return sum(size > 1 for size in parameter.shape) <= 1


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that pruning counts and cuts, by name in the model's order.

    They have two or more dimensions and are no biases, such as ``bias_k`` of attention, nor the gains of
    ``weight_norm``; tied ones come once; the last layer is included. A model wrapped by ``torch.compile`` or
    ``DistributedDataParallel`` gives the names of the model inside.

    Raises:
        InputTypeError: if ``model`` is not a module.
        InputError: if it has no such parameter, or one without a shape yet (a lazy layer).

    >>> list(prunable(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))))
    ['0.weight', '2.weight']
    """
    check_type("model", model, nn.Module)
    parameters = dict(unwrapped(model).named_parameters())
    for name, parameter in parameters.items():
        if nn.parameter.is_lazy(parameter):
            raise InputError(f"model: {name!r} has no shape yet, run one batch through the model first")
    found = {name: parameter for name, parameter in parameters.items() if is_weight(name, parameter)}
    if not any(parameter.numel() for parameter in found.values()):
        raise InputError("model: got no weights to prune, allowed is a model with a weight of two or more dimensions")
    return found


def check_not_sparse(model: nn.Module) -> None:
    """Refuse a model with sparse layers, whose weights are vectors of values and no mask could reach.

    Raises:
        InputError: naming the first sparse layer.
    """
    for name, module in model.named_modules():
        if hasattr(module, "values") and hasattr(module, "pointers"):
            raise InputError(
                f"model: layer {name!r} is sparse already, {type(module).__name__}; prune the model that "
                "widthwise.densify(model) gives back, then call sparsify again"
            )


def check_has_values(model: nn.Module) -> None:
    """Refuse a model on the meta device, whose weights have shapes but no values.

    Raises:
        InputError: naming the first parameter or buffer without values.

    >>> check_has_values(nn.Linear(2, 3, device="meta"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    widthwise.errors.InputError: model: 'weight' is on the meta device and has no values; load or draw them ...
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise InputError(
                f"model: {name!r} is on the meta device and has no values; load or draw them first, as after "
                'model.to_empty(device="cpu")'
            )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside ``torch.compile`` and data-parallel wrappers."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    inner = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model
