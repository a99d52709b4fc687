"""A network from what a user types: a built-in name or a function of one's own, sized to fit a data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from widthwise._imported import function_named
from widthwise._memory import refused_memory
from widthwise.errors import InputError, check_choice, summary_of
from widthwise.models.registry import builder

__all__ = ["from_name"]


def from_name(
    name: str, arguments: Mapping[str, Any] | None = None, *, shape: Sequence[int] = (), outputs: int = 0
) -> nn.Module:
    """Build a network.

    Args:
        name: of a built-in model, or ``package.module:factory`` or ``file.py:factory`` for a function of your own;
            files, and modules beside the installed ones, are looked for in the current folder.
        arguments: keyword arguments of the builder.
        shape: of one example; arguments such as ``in_features`` or ``image_size`` that are not given follow from it.
        outputs: number of outputs, likewise for ``out_features`` and ``num_classes``.

    Raises:
        InputError: if the name is unknown, the factory cannot be imported, does not take an argument, or does not
            return a module.

    Example:
        >>> from_name("mlp", {"width": 5}, shape=(1, 8, 8), outputs=10)[1]
        Linear(in_features=64, out_features=5, bias=True)
    """
    factory = function_named("model", name) if ":" in name else _built_in(name)
    given = dict(arguments or {})
    takes = _parameters(factory)
    for key in given:
        if takes is not None:
            check_choice(f"argument of {name}", key, takes)
    fitting = {key: value for key, value in _fit(shape, outputs).items() if takes and key in takes}
    try:
        model = factory(**{**fitting, **given})
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # of somebody's own, it may raise anything
        if refused_memory(error) is not None:
            raise
        raise InputError(
            f"model: {name} cannot be built ({summary_of(error)}); give its arguments with --set name=value"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model: {name} returned a {type(model).__name__}, allowed is a function that returns a module"
        )
    return model


def _built_in(name: str) -> Callable[..., Any]:
    try:
        return builder(name)
    except InputError as error:
        raise InputError(f"{error}; or a function of yours, as package.module:factory or file.py:factory") from None


def _parameters(factory: Callable[..., Any]) -> list[str] | None:
    """Names of the keyword arguments; ``None`` where any is taken."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # of a function in C, which does not tell
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]


def _fit(shape: Sequence[int], outputs: int) -> dict[str, int]:
    fit: dict[str, int] = {}
    if outputs:
        fit |= {"out_features": outputs, "num_classes": outputs}
    if shape:
        size = 1
        for side in shape:
            size *= side
        fit["in_features"] = size
    if len(shape) == 3:
        fit |= {"in_channels": shape[0], "image_size": shape[1]}
    return fit
