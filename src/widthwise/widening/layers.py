"""Which module owns a weight, and which layers are left as they are."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from widthwise.errors import InputError
from widthwise.weights import prunable

__all__ = ["constant_outputs", "owners", "units", "whole_names"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def owners(model: nn.Module) -> dict[str, list[tuple[str, nn.Module]]]:
    """Every module that has a weight, with its name, by the weight's name; several where they share it."""
    names = {id(weight): name for name, weight in prunable(model).items()}
    found: dict[str, list[tuple[str, nn.Module]]] = {name: [] for name in names.values()}
    for path, module in model.named_modules():
        for parameter in module._parameters.values():
            if id(parameter) in names:
                found[names[id(parameter)]].append((path, module))
    return found


def whole_names(model: nn.Module, whole: Collection[str]) -> set[str]:
    """The weights that belong to the modules, or are the parameters, of the names given.

    Raises:
        InputError: for a name under which the network has no weights.
    """
    found = set()
    for name in whole:
        mine = {weight for weight in prunable(model) if f"{weight}.".startswith(f"{name}.")}
        if not mine:
            raise InputError(f"whole: got {name!r}, allowed are names of layers, such as {next(iter(owners(model)))!r}")
        found |= mine
    return found


def constant_outputs(narrow: nn.Module, wide: nn.Module) -> set[str]:
    """The weights of layers that have as many outputs in a wide network as in a narrow one, such as the readout."""
    before, after = prunable(narrow), prunable(wide)
    return {name for name in after if name in before and len(before[name]) == len(after[name])}


def units(model: nn.Module) -> dict[str, int]:
    """The output units of each dense or convolutional layer, by the name of its weight."""
    return {
        name: len(prunable(model)[name])
        for name, [(_, module), *_] in owners(model).items()
        if isinstance(module, _LAYERS)
    }
