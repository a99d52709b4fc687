"""How many weights a perceptron of a width has, and how a budget is divided among its layers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from widthwise.errors import InputError
from widthwise.pruning.allocation import balanced

__all__ = ["capacity", "divided", "narrowest"]


def narrowest(inputs: int, outputs: int, depth: int, budget: int) -> int:
    """The least width at which the dense perceptron has so many weights or more.

    Args:
        inputs: features of an example.
        outputs: of the network.
        depth: hidden layers.
        budget: the number of weights.
    """
    a, b = depth - 1, inputs + outputs
    guess = budget // b if a == 0 else int(((b * b + 4 * a * budget) ** 0.5 - b) / (2 * a))
    return next(n for n in count(max(1, guess - 1)) if capacity(inputs, outputs, n, depth) >= budget)


def capacity(inputs: int, outputs: int, width: int, depth: int) -> int:
    """Weights of the dense perceptron with ``depth`` hidden layers.

    Args:
        inputs: features of an example.
        outputs: of the network.
        width: units of a hidden layer.
        depth: hidden layers.
    """
    return width * (inputs + (depth - 1) * width + outputs)


def divided(sizes: Mapping[str, int], budget: int, last_layer: str, name: str = "budget") -> dict[str, int]:
    """How many weights each layer keeps; the last of ``sizes`` whole if ``last_layer`` is ``"dense"``.

    Args:
        sizes: weights of each layer when dense.
        budget: weights to keep in all.
        last_layer: ``"balanced"``, or ``"dense"``, which never cuts the last.
        name: of the argument that gave the budget, for the message.

    Raises:
        InputError: named ``name``, if the budget does not go round, or is more than there are weights.
    """
    kept = {list(sizes)[-1]: sizes[list(sizes)[-1]]} if last_layer == "dense" else {}
    others = {name: size for name, size in sizes.items() if name not in kept}
    left, room = budget - sum(kept.values()), sum(others.values())
    if not len(others) <= left <= room:
        low, high = sum(kept.values()) + len(others), sum(sizes.values())
        raise InputError(
            f"{name}: got {budget}, allowed at these sizes with a {last_layer} last layer is {low} to {high}"
        )
    return {**balanced(others, left), **kept}
