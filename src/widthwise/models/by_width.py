"""Built-in networks as functions of one whole number, their width."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from widthwise.errors import InputError, check_choice, check_integer
from widthwise.models.registry import builder

__all__ = ["ByWidth", "by_width"]

# How a builder's own argument follows from the width: the channels or units of the first layer, or those of one
# attention head, since a transformer's features are a multiple of its heads.
_ARGUMENTS: dict[str, tuple[str, Callable[[int, Mapping[str, Any]], float]]] = {
    "mlp": ("width", lambda width, _: width),
    "residual_mlp": ("width", lambda width, _: width),
    "vanilla_cnn": ("channels", lambda width, _: width),
    "resnet18": ("width", lambda width, _: width),
    "vgg16": ("width", lambda width, _: width / 64),
    **{f"resnet{depth}": ("width", lambda width, _: width / 16) for depth in (20, 32, 44, 50, 56, 104)},
    "vit": ("width", lambda width, given: width * given["heads"]),
    "gpt": ("width", lambda width, given: width * given["heads"]),
}


@dataclass(frozen=True)
class ByWidth:
    """From a width to a built-in network; made by :func:`by_width`.

    Attributes:
        name: of the model.
        arguments: of its builder, all but that for the width.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, width: int) -> nn.Module:
        """A freshly initialised network."""
        check_integer("width", width, 1)
        key, rule = _ARGUMENTS[self.name]
        function = builder(self.name)
        defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
        return function(**self.arguments, **{key: rule(width, {**defaults, **self.arguments})})


def by_width(name: str, **arguments: Any) -> ByWidth:
    """A built-in network as a factory from its width, for :func:`widthwise.widen` and :func:`widthwise.compare`.

    The width is the number of units or channels of the first hidden layer, on which all others depend; of a transformer
    the number of features a head.

    Args:
        name: of the model.
        arguments: of its builder, all but that for the width.

    Raises:
        InputError: for a model without a width, or an argument that its builder does not take.

    Example:
        >>> by_width("resnet18", num_classes=10)(8).conv.out_channels
        8
    """
    check_choice("name", name, _ARGUMENTS)
    key = _ARGUMENTS[name][0]
    takes = [p for p in inspect.signature(builder(name)).parameters if p != key]
    for argument in arguments:
        check_choice(f"argument of {name}", argument, takes)
    missing = [
        p.name
        for p in inspect.signature(builder(name)).parameters.values()
        if p.default is p.empty and p.name not in arguments and p.name != key
    ]
    if missing:
        raise InputError(f"{name}: got no {missing[0]}, allowed is a value for each of {', '.join(missing)}")
    return ByWidth(name, arguments)
