"""The infinitely wide network that a PyTorch module is a finite copy of."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from widthwise.activations import get, of_module
from widthwise.errors import InputError, check_type
from widthwise.infinite.convolution import Conv
from widthwise.infinite.flattening import Flatten
from widthwise.infinite.layers import Dense, Layer, LayerNorm, Nonlinear
from widthwise.infinite.network import Network
from widthwise.infinite.pooling import AvgPool, GlobalAvgPool
from widthwise.weights import check_has_values

__all__ = ["from_module"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_POOLS = (nn.AvgPool1d, nn.AvgPool2d)
_GLOBAL_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)


def from_module(
    module: nn.Module,
    *,
    sigma_w: float | None = None,
    sigma_b: float | None = None,
    parameterisation: str = "standard",
) -> Network:
    """Read an architecture off an ``nn.Sequential``, nested ones included.

    Read are ``Linear``, ``Conv1d``, ``Conv2d``, ``Flatten``, ``AvgPool``, ``AdaptiveAvgPool`` to one position,
    ``LayerNorm`` without learnt factors, ``Identity`` and all activations that
    :func:`widthwise.activations.of_module` knows, or modules without parameters that are elementwise.

    Args:
        module: the network, at its initialization.
        sigma_w: standard deviation of a weight times the root of its fan-in, in every layer; by default the root mean
            square of each layer's own weights, which has the sampling error of as many numbers as the layer has.
        sigma_b: standard deviation of a bias, in every layer that has one; by default each layer's own.
        parameterisation: ``"standard"``, PyTorch's own, with the widths that the module has, or ``"ntk"``.

    Raises:
        InputTypeError: if it is not a module.
        InputError: for a layer that has no closed form here; the message names it.

    Example:
        >>> from_module(nn.Sequential(nn.Linear(4, 512, bias=False), nn.ReLU()), sigma_w=1.0).layers[0].width
        512
    """
    check_has_values(check_type("module", module, nn.Module))
    common = {"sigma_w": sigma_w, "sigma_b": sigma_b, "parameterisation": parameterisation}
    return Network(*(found for name, part in _parts(module, "") for found in _read(name, part, common)))


def _parts(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(module, nn.Sequential):
        yield name, module
        return
    for key, child in module.named_children():
        yield from _parts(child, f"{name}.{key}" if name else key)


def _read(name: str, module: nn.Module, common: dict[str, float | str | None]) -> list[Layer]:
    """The layers that a module is; none for the identity."""
    if isinstance(module, nn.Identity):
        return []
    if type(module) is nn.Linear or (type(module) in _CONVOLUTIONS and _is_plain(module)):
        return [_weighted(name, module, common)]
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return [Flatten()]
    if type(module) in _POOLS and not any(_numbers(module.padding)) and not module.ceil_mode:
        return [AvgPool(_numbers(module.kernel_size), _numbers(module.stride))]
    if type(module) in _GLOBAL_POOLS and set(_numbers(module.output_size)) == {1}:
        return [GlobalAvgPool()]
    if type(module) is nn.LayerNorm and not module.elementwise_affine:
        return [LayerNorm(module.eps, "channels" if len(module.normalized_shape) == 1 else "all")]
    return [_activation(name, module)]


def _activation(name: str, module: nn.Module) -> Layer:
    known = of_module(module)
    if known is None and any(True for _ in module.children()):
        raise _unread(name, module)
    try:
        return Nonlinear(known or get(module))
    except InputError:
        raise _unread(name, module) from None


def _unread(name: str, module: nn.Module) -> InputError:
    return InputError(
        f"module: {_called(name, module)} has no closed form here; allowed are nn.Sequential of Linear, Conv1d, "
        "Conv2d, Flatten, average pooling, LayerNorm without factors, and activations, or a network composed of "
        "ww.kernels.Dense and the like"
    )


def _called(name: str, module: nn.Module) -> str:
    """A layer in a message: what it is, by class alone where it has layers of its own."""
    layer = type(module).__name__ if any(True for _ in module.children()) else " ".join(str(module).split())
    return f"layer {name}, {layer}," if name else f"{layer}, which is no nn.Sequential,"


def _weighted(name: str, module: nn.Module, common: dict[str, float | str | None]) -> Layer:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    measured = dict(common)
    if measured["sigma_w"] is None:
        measured["sigma_w"] = _rms(weight) * weight[0].numel() ** 0.5
    if not isinstance(bias, Tensor):
        measured["sigma_b"] = None
    elif measured["sigma_b"] is None:
        measured["sigma_b"] = _rms(bias)
    try:
        if isinstance(module, _CONVOLUTIONS):
            return _convolution(module, measured)
        return Dense(len(weight), **measured)  # type: ignore[arg-type]
    except InputError as error:
        raise InputError(f"module: {_called(name, module)} cannot be read: {error}") from None


def _convolution(module: nn.Conv1d | nn.Conv2d, measured: dict[str, float | str | None]) -> Layer:
    padding: str | tuple[int, ...] = module.padding if isinstance(module.padding, str) else _numbers(module.padding)
    if module.padding_mode == "circular" and _keeps_size(module):
        padding = "circular"
    return Conv(module.out_channels, module.kernel_size, stride=module.stride, padding=padding, **measured)  # type: ignore[arg-type]


def _is_plain(module: nn.Module) -> bool:
    """Whether a convolution is neither in groups nor dilated, and pads, if at all, with zeros or around."""
    assert isinstance(module, _CONVOLUTIONS)
    if module.groups != 1 or set(module.dilation) != {1}:
        return False
    pads = module.padding != "valid" and any(_numbers(module.padding))
    return module.padding_mode == "zeros" or not pads or (module.padding_mode == "circular" and _keeps_size(module))


def _keeps_size(module: nn.Conv1d | nn.Conv2d) -> bool:
    """Whether padding is half the kernel on either side."""
    if isinstance(module.padding, str):
        return module.padding == "same"
    return all(size == 2 * pad + 1 for size, pad in zip(module.kernel_size, module.padding, strict=True))


def _numbers(size: object) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, tuple) else (size,)  # type: ignore[return-value]


def _rms(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.detach().double()) / values.numel() ** 0.5)
