"""How many weights a width-parameterised network has; biases and normalisation parameters are not counted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from widthwise.errors import InputError, InputTypeError, outlined
from widthwise.weights import prunable

__all__ = ["Factory", "skeleton", "weights_at", "width_for"]

Factory = Callable[[int], nn.Module]
"""From a width to a freshly initialised module."""


def skeleton(build: Factory, width: int) -> nn.Module:
    """The network of a width, without memory for its numbers where the factory allows it.

    The global random state is left alone.

    Raises:
        InputTypeError: if ``build`` is no function or makes no module.
    """
    if isinstance(build, nn.Module) or not callable(build):
        got = "a module" if isinstance(build, nn.Module) else outlined(build)
        raise InputTypeError(f"build: got {got}, allowed is a function from a width to a module")
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                made = build(width)
        except (RuntimeError, NotImplementedError):
            made = build(width)
    if not isinstance(made, nn.Module):
        raise InputTypeError(f"build: got {made!r} at width {width}, allowed is a function from a width to a module")
    return made


def weights_at(build: Factory, width: int) -> int:
    """Number of weights of the network of a width; biases and normalisation parameters are not counted."""
    return sum(w.numel() for w in prunable(skeleton(build, width)).values())


def width_for(build: Factory, budget: int) -> int:
    """The width at which a network has exactly ``budget`` weights.

    Raises:
        InputError: if none has, naming the two nearest; if one unit already needs more; or if the number of
            weights does not grow with width.

    Example:
        >>> from widthwise.models import mlp
        >>> width_for(lambda width: mlp(64, 10, width=width), 222)
        3
    """
    least = weights_at(build, 1)
    if budget < least:
        raise InputError(f"budget: got {budget}, allowed is at least {least}, what a network of width 1 needs")
    low, high = 1, 2
    while weights_at(build, high) <= budget:
        if weights_at(build, high) <= weights_at(build, low):
            raise InputError(
                f"build: the network has {weights_at(build, high)} weights at widths {low} and {high}; "
                "its number of weights must grow with width"
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if weights_at(build, middle) <= budget else (low, middle)
    below, above = weights_at(build, low), weights_at(build, high)
    if below != budget:
        raise InputError(
            f"budget: no width has exactly {budget} weights; the nearest are {below} (width {low}) "
            f"and {above} (width {high})"
        )
    return low
