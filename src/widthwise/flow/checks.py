"""What may be trained, and on what."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, InputTypeError, check_finite, check_type
from widthwise.models.node_scaled import Shallow

__all__ = ["DegenerateWarning", "check_inputs", "check_models", "check_pairs", "warn_of_duplicates"]

Data = Tensor | Sequence[Tensor]


class DegenerateWarning(UserWarning):
    """Two inputs are equal, so that kappa_n = 0 and nothing is guaranteed."""


def check_models(model: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
    """The networks as a list, if they are one architecture and can be run together.

    Raises:
        InputTypeError: if one is no module.
        InputError: if there is none, they differ, have no parameters or such as are not finite, or are in training mode
            with layers that behave otherwise in it.
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    if not models:
        raise InputError("model: got an empty sequence, allowed is at least one network")
    for each in models:
        check_type("model", each, nn.Module)
    shapes = [(type(m), {k: (tuple(v.shape), v.dtype) for k, v in m.state_dict().items()}) for m in models]
    if any(s != shapes[0] for s in shapes):
        raise InputError("model: got networks of different types, shapes or dtypes, allowed are networks of one kind")
    if len(set(map(id, models))) != len(models):
        raise InputError("model: got the same network twice, allowed are networks with weights of their own")
    if next(models[0].parameters(), None) is None:
        raise InputError("model: it has no parameters, allowed is a network that has some")
    for name, weight in ((name, p) for m in models for name, p in m.named_parameters()):
        check_finite(f"model: {name}", weight.detach())
    for name, module in models[0].named_modules():
        if module.training and isinstance(module, (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)):
            raise InputError(f"model: {name!r} changes the network at random or on the way; call model.eval() first")
    return models


def check_pairs(models: Sequence[nn.Module], x: Data, y: Data) -> tuple[Tensor, Tensor]:
    """Inputs ``(R, n, ...)`` and targets ``(R, n, k)`` of each network; shared ones are not copied.

    Raises:
        InputTypeError: for anything but floating tensors of the networks' dtype.
        InputError: for no examples, sizes that do not match, a NaN or an infinity; for an input of norm zero where the
            network is shallow.

    Warns:
        DegenerateWarning: if an input occurs twice.
    """
    first = next(models[0].parameters())
    parts = []
    for name, data in (("X", x), ("y", y)):
        tensors = list(data) if isinstance(data, list | tuple) else [check_type(name, data, Tensor)]
        if len(tensors) not in (1, len(models)):
            raise InputError(f"{name}: got {len(tensors)} tensors for {len(models)} networks, allowed is one a network")
        parts.append([_checked(name, t, first) for t in tensors])
    xs, ys = parts
    ys = [t.unsqueeze(-1) if t.dim() == 1 else t for t in ys]
    for each in xs:
        check_inputs("X", each, nonzero=isinstance(models[0], Shallow))
        warn_of_duplicates("X", each)
    if any(t.dim() != 2 or len(t) != len(xs[0]) or t.shape != ys[0].shape for t in ys):
        raise InputError(
            f"y: got shape {tuple(ys[0].shape)}, allowed are one target, or k, for each of {len(xs[0])} rows"
        )
    if any(t.shape != xs[0].shape for t in xs):
        raise InputError(
            "X: got tensors of different shapes, allowed are as many examples of one kind for each network"
        )
    _check_outputs(models[0], xs[0], ys[0])
    return tuple(_stacked(each, len(models)) for each in (xs, ys))  # type: ignore[return-value]


def check_inputs(name: str, x: Tensor, nonzero: bool = True) -> Tensor:
    """Return ``x`` if it holds examples ``(n, ...)``, finite and, unless told otherwise, none of norm zero.

    Raises:
        InputError: otherwise.
        InputTypeError: if it is no floating tensor.
    """
    check_type(name, x, Tensor)
    if not x.is_floating_point():
        raise InputTypeError(f"{name}: got {x.dtype}, allowed is a floating tensor")
    if x.dim() < 2 or not x.numel():
        raise InputError(f"{name}: got shape {tuple(x.shape)}, allowed is (n, ...) with at least one example")
    check_finite(name, x)
    if not nonzero:
        return x
    zero = torch.nonzero(x.flatten(1).abs().amax(1) == 0).flatten()
    if len(zero):
        raise InputError(
            f"{name}: row {int(zero[0])} has norm zero ({len(zero)} such), on which the network is constant; allowed "
            "are rows that are not zero: drop them, or append a constant feature"
        )
    return x


def warn_of_duplicates(name: str, x: Tensor) -> int:
    """Count the rows that repeat an earlier one, with a warning if there are any."""
    rows = x.flatten(1)
    distinct, place = torch.unique(rows, dim=0, return_inverse=True)
    repeats = len(rows) - len(distinct)
    if repeats:
        first, second = _a_pair(place)
        warnings.warn(
            f"{name}: {repeats} rows repeat others (rows {first} and {second} are equal), so kappa_n = 0: neither a "
            "rate nor convergence to zero is guaranteed",
            DegenerateWarning,
            stacklevel=3,
        )
    return repeats


def _a_pair(place: Tensor) -> tuple[int, int]:
    order = torch.argsort(place, stable=True)
    twin = int(torch.nonzero(place[order].diff() == 0)[0])
    return int(order[twin]), int(order[twin + 1])


def _checked(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    check_type(name, tensor, Tensor)
    if tensor.dtype != like.dtype:
        raise InputTypeError(f"{name}: got {tensor.dtype}, allowed is {like.dtype}, as the network's weights")
    if tensor.device != like.device:
        raise InputError(f"{name}: it is on {tensor.device}, allowed is {like.device}, where the network is")
    return check_finite(name, tensor.detach())


def _check_outputs(model: nn.Module, x: Tensor, y: Tensor) -> None:
    try:
        with torch.no_grad():
            got = model(x[:1])
    except (RuntimeError, ValueError) as error:
        raise InputError(f"X: the network fails on an example of shape {tuple(x.shape[1:])}: {error}") from error
    if not isinstance(got, Tensor) or got.numel() != y.shape[1]:
        shape = tuple(got.shape[1:]) if isinstance(got, Tensor) else type(got).__name__
        raise InputError(f"y: got {y.shape[1]} targets an example, but the network's output is {shape}")


def _stacked(tensors: list[Tensor], runs: int) -> Tensor:
    return tensors[0].expand(runs, *tensors[0].shape) if len(tensors) == 1 else torch.stack(tensors)
