"""Gaussian initialisation of dense and convolutional layers, in the phase one asks for.

Every layer gets weights N(0, sigma_w^2 / fan-in) and biases N(0, sigma_b^2), in place; embeddings, normalisation and
recurrent layers stay as they are. Random numbers are drawn on the CPU in float64, so that a seed means the same on any
machine. Prune after initialising: a mask in force does not hold against it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

from widthwise._scaled import forget_scaled
from widthwise.activations import Activation, ActivationLike, get, of_model
from widthwise.errors import InputError, check_number, check_type
from widthwise.meanfield import at_chi, variance_slope

__all__ = ["RepellingWarning", "chaotic_", "edge_of_chaos_", "gaussian_", "ordered_"]

Model = TypeVar("Model", bound=nn.Module)
Layer = nn.Linear | _ConvNd


class RepellingWarning(UserWarning):
    """The variance at which the network is on the edge of chaos repels: signals drift away from it with depth."""


def gaussian_(model: Model, sigma_w: float, sigma_b: float = 0.0, *, generator: torch.Generator | None = None) -> Model:
    """Draw weights of variance sigma_w^2 / fan-in and biases of variance sigma_b^2, in place.

    The fan-in of a convolution counts its channels (of one group) and kernel positions; a transposed one sums, on
    average, a share 1 / stride of its kernel. A weight that several layers share is drawn once.

    Args:
        model: its linear and convolutional layers are drawn, the last one included.
        sigma_w: standard deviation of a weight times the root of its fan-in.
        sigma_b: standard deviation of a bias.
        generator: on the CPU; PyTorch's default if not given.

    Returns:
        The same model.

    Raises:
        InputError: if the model has no such layer, or one whose weight is lazy or computed from other parameters.
        InputTypeError: if ``model`` is not a module.

    Example:
        >>> layer = gaussian_(nn.Linear(400, 300), 1.5, generator=torch.Generator().manual_seed(0))
        >>> round(float(layer.weight.detach().square().sum() / 300), 1), float(layer.bias.detach().abs().max())
        (2.3, 0.0)
    """
    check_type("model", model, nn.Module)
    sigma_w, sigma_b = check_number("sigma_w", sigma_w, low=0.0), check_number("sigma_b", sigma_b, low=0.0)
    check_type("generator", generator, (torch.Generator, type(None)))
    draws = list(_draws(model, sigma_w, sigma_b))
    if not draws:
        raise InputError("model: has no linear or convolutional layer, and only those are initialised")
    for tensor, std in draws:
        with torch.no_grad():
            tensor.copy_(std * torch.randn(tensor.shape, dtype=torch.float64, generator=generator))
    return model


def edge_of_chaos_(
    model: Model,
    activation: ActivationLike | None = None,
    sigma_b: float = 0.0,
    *,
    generator: torch.Generator | None = None,
) -> Model:
    """Initialise on the edge of chaos, where correlations and gradients survive to any depth.

    Args:
        model: see :func:`gaussian_`.
        activation: between its layers; read off its modules if not given.
        sigma_b: standard deviation of a bias.
        generator: see :func:`gaussian_`.

    Returns:
        The same model.

    Raises:
        InputError: if the activation cannot be read off, or has no edge of chaos with this ``sigma_b``.

    Warns:
        RepellingWarning: if variances drift away from the edge, as with GELU at small ``sigma_b``.

    Example:
        >>> model = edge_of_chaos_(nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 100)))
        >>> round(float(model[0].weight.detach().square().sum() / 100))  # sigma_w^2
        2
    """
    return _in_phase(model, activation, 1.0, sigma_b, generator)


def ordered_(
    model: Model,
    activation: ActivationLike | None = None,
    sigma_b: float = 0.3,
    *,
    chi: float = 0.5,
    generator: torch.Generator | None = None,
) -> Model:
    """Initialise in the ordered phase, where correlations tend to 1 and gradients vanish as ``chi`` to the depth.

    Arguments and errors are those of :func:`edge_of_chaos_`, with ``chi`` between 0 and 1.
    """
    chi = check_number("chi", chi, low=0.0, high=1.0, low_open=True, high_open=True)
    return _in_phase(model, activation, chi, sigma_b, generator)


def chaotic_(
    model: Model,
    activation: ActivationLike | None = None,
    sigma_b: float = 0.0,
    *,
    chi: float = 2.0,
    generator: torch.Generator | None = None,
) -> Model:
    """Initialise in the chaotic phase, where inputs decorrelate and gradients explode as ``chi`` to the depth.

    Arguments and errors are those of :func:`edge_of_chaos_`, with ``chi`` above 1.
    """
    chi = check_number("chi", chi, low=1.0, low_open=True)
    return _in_phase(model, activation, chi, sigma_b, generator)


def _in_phase(
    model: Model, activation: ActivationLike | None, chi: float, sigma_b: float, generator: torch.Generator | None
) -> Model:
    known = of_model(model) if activation is None else get(activation)
    sigma_w, q = at_chi(known, chi, sigma_b)
    if chi == 1:
        _warn_if_repelling(known, sigma_w, sigma_b, q)
    return gaussian_(model, sigma_w, sigma_b, generator=generator)


def _warn_if_repelling(activation: Activation, sigma_w: float, sigma_b: float, q: float) -> None:
    slope = variance_slope(activation, sigma_w, sigma_b, q=q if q > 0 else 1e-4)
    if abs(slope) > 1 + 1e-9:
        warnings.warn(
            f"{activation.name} with sigma_b = {sigma_b:g} is on the edge of chaos at variance {q:.4g}, from which "
            "signals drift away with depth; a larger sigma_b may hold them",
            RepellingWarning,
            stacklevel=4,
        )


def _draws(model: nn.Module, sigma_w: float, sigma_b: float) -> Iterator[tuple[Tensor, float]]:
    """Each parameter to draw, once, with its standard deviation."""
    seen = set[int]()
    for name, layer in model.named_modules():
        if not isinstance(layer, Layer):
            continue
        weight = layer._parameters.get("weight")
        if weight is None or is_lazy(weight):
            raise InputError(f"model: the weight of {name or 'the layer'!r} is lazy or computed from others")
        forget_scaled(layer)
        stds = ((weight, sigma_w / math.sqrt(_fan_in(layer, weight))), (layer.bias, sigma_b))
        for parameter, std in stds:
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter, std


def _fan_in(layer: Layer, weight: Tensor) -> float:
    if isinstance(layer, _ConvTransposeNd):
        return layer.in_channels / layer.groups * weight[0, 0].numel() / math.prod(layer.stride)
    return weight[0].numel()
