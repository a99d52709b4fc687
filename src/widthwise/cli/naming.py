"""A network from what a user types on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from widthwise.errors import InputError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["named_network"]


def named_network(
    name: str, arguments: Iterable[str] | None, shape: Sequence[int], outputs: int, seed: int
) -> nn.Module:
    """A built-in network or one's own, sized to the data.

    Args:
        name: of the network, or ``package.module:factory`` or ``file.py:factory``.
        arguments: of its builder, each as ``name=value``.
        shape: of one example.
        outputs: number of outputs.
        seed: of its weights.

    Raises:
        InputError: if an argument is no pair, or the network can't be built.
    """
    import torch

    from widthwise.errors import check_integer
    from widthwise.models.named import from_name

    check_integer("--seed", seed)
    given = _parsed(arguments or ())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return from_name(name, given, shape=shape, outputs=outputs)


def _parsed(arguments: Iterable[str]) -> dict[str, Any]:
    """``name=value`` pairs, the values as JSON where they are JSON and as text where not."""
    parsed: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise InputError(f"--set: got {argument!r}, allowed is name=value")
        try:
            parsed[name] = json.loads(value)
        except ValueError:
            parsed[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return parsed
