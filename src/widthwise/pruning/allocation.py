"""How many weights each layer keeps: exact counts from layer sizes.

Every rule meets its total exactly. A layer is a name with a size (its number of weights) or a shape.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Real

from widthwise.errors import InputError, check_choice, check_integer, check_number

__all__ = [
    "SCOPES",
    "allocate",
    "balanced",
    "erk",
    "exponential_schedule",
    "keep_count",
    "target_count",
    "uniform",
]

SCOPES = ("global", "uniform", "erk", "balanced")


def keep_count(total: int, sparsity: float) -> int:
    """Number of weights kept out of ``total`` at ``sparsity``: the nearest whole number, half to even.

    Raises:
        InputError: if ``sparsity`` is outside [0, 1).

    >>> keep_count(1000, 0.9)
    100
    """
    check_integer("total", total)
    if isinstance(sparsity, Real) and 1 < sparsity < 100:
        raise InputError(
            f"sparsity: got {sparsity}, allowed is a number in [0, 1); for {sparsity:g} % pass {sparsity / 100:g}"
        )
    return round(total * (1 - check_number("sparsity", sparsity, 0, 1, high_open=True)))


def target_count(total: int, sparsity: float | None, budget: int | None) -> int:
    """Number of weights to keep out of ``total``, given as a sparsity or as the number itself.

    Raises:
        InputError: if both are given or none, or for one out of range.
    """
    if (sparsity is None) == (budget is None):
        raise InputError(f"sparsity, budget: got {sparsity} and {budget}, allowed is exactly one of the two")
    return keep_count(total, sparsity) if sparsity is not None else check_integer("budget", budget, 1, total)


def exponential_schedule(alive: int, keep: int, rounds: int) -> list[int]:
    """Numbers of weights left after each round, falling from ``alive`` to ``keep`` by the same factor.

    >>> exponential_schedule(1000, 1, 3)
    [100, 10, 1]
    """
    return [round(alive * (keep / alive) ** (done / rounds)) for done in range(1, rounds)] + [keep]


def uniform(sizes: Mapping[str, int], keep: int, room: Mapping[str, int] | None = None) -> dict[str, int]:
    """The same density in every layer.

    Rounding follows Webster (Sainte-Laguë), so that a larger ``keep`` never takes a weight from any layer.

    Args:
        sizes: number of weights of each layer.
        keep: number of weights to keep in all.
        room: the most that each layer may keep, if that is less than its size.

    Raises:
        InputError: if ``keep`` is below 0 or above what there is.

    >>> uniform({"a": 30, "b": 10}, 20)
    {'a': 15, 'b': 5}
    """
    return _apportion(sizes, room or sizes, keep)


def erk(shapes: Mapping[str, Sequence[int]], keep: int, room: Mapping[str, int] | None = None) -> dict[str, int]:
    """Erdős-Rényi-kernel density: proportional to the sum of a layer's dimensions over their product.

    A density that would exceed 1 is 1, and what is left over goes to the other layers in their proportions.
    Rounding as in :func:`uniform`.

    Source: Evci, Gale, Menick, Castro and Elsen, "Rigging the lottery", 2020, section 3.

    Args:
        shapes: shape of each layer's weights.
        keep: number of weights to keep in all.
        room: the most that each layer may keep, if that is less than its size.

    Raises:
        InputError: if ``keep`` is below 0 or above what there is.

    >>> erk({"first": (10, 100), "last": (2, 10)}, 130)
    {'first': 117, 'last': 13}
    >>> erk({"first": (10, 100), "last": (2, 10)}, 900)
    {'first': 880, 'last': 20}
    """
    sizes = room or {name: math.prod(shape) for name, shape in shapes.items()}
    return _apportion({name: sum(shape) for name, shape in shapes.items()}, sizes, keep)


def balanced(sizes: Mapping[str, int], keep: int) -> dict[str, int]:
    """Cut the largest layer to the size of the next, then both together, and so on: water-filling from the top.

    Where the layers being cut cannot share the loss evenly, the largest loses the odd weights, as far as it has
    any, then the next. So, unlike with the other rules, a larger ``keep`` may take a few weights from the
    largest layer. A target below the smallest layer's size cuts all layers alike.

    Source: Golubeva, Neyshabur and Gur-Ari, "Are wider nets better given the same number of parameters?",
    2021, Figure 4 and appendix B; its printed procedure fails for such a target.

    Args:
        sizes: number of weights of each layer.
        keep: number of weights to keep in all.

    Raises:
        InputError: if ``keep`` is below 0 or above the sum of ``sizes``.

    >>> balanced({"a": 100, "b": 40, "c": 10}, 71)
    {'a': 30, 'b': 31, 'c': 10}
    """
    check_integer("keep", keep, 0, sum(sizes.values()))

    def held_below(level: int) -> int:
        return sum(min(size, level) for size in sizes.values())

    level = bisect.bisect_left(range(max(sizes.values())), keep, key=held_below)
    counts = {name: min(size, level) for name, size in sizes.items()}
    excess = held_below(level) - keep
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        loss = min(counts[name], excess)
        counts[name] -= loss
        excess -= loss
    return counts


def allocate(
    scope: str, shapes: Mapping[str, Sequence[int]], keep: int, room: Mapping[str, int]
) -> int | dict[str, int]:
    """What :func:`widthwise.pruning.selection.select` shall keep: a number over all layers, or one of each.

    Args:
        scope: one of ``SCOPES``.
        shapes: shape of each layer's weights.
        keep: number of weights to keep in all.
        room: number of weights of each layer that are still alive.

    Raises:
        InputError: for an unknown scope, or if ``keep`` is below 0 or above the sum of ``room``.
    """
    check_choice("scope", scope, SCOPES)
    check_integer("keep", keep, 0, sum(room.values()))
    match scope:
        case "uniform":
            return uniform({name: math.prod(shape) for name, shape in shapes.items()}, keep, room)
        case "erk":
            return erk(shapes, keep, room)
        case "balanced":
            return balanced(room, keep)
        case _:
            return keep


def _apportion(shares: Mapping[str, int], room: Mapping[str, int], keep: int) -> dict[str, int]:
    """Webster's apportionment of ``keep`` seats by ``shares``, at most ``room`` each, in exact arithmetic.

    A layer's seat number c + 1 is worth share / (2 c + 1); seats are dealt by worth, the first layer before
    its equals. Rounding the exact quotas ends a few seats away from ``keep``, which are dealt or taken back.
    """
    check_integer("keep", keep, 0, sum(room.values()))
    rate = _rate(shares, room, keep)
    counts = {name: min(room[name], math.floor(share * rate + Fraction(1, 2))) for name, share in shares.items()}
    missing = keep - sum(counts.values())
    for _ in range(missing):
        open_ = [name for name in counts if counts[name] < room[name]]
        counts[max(open_, key=lambda name: Fraction(shares[name], 2 * counts[name] + 1))] += 1
    for _ in range(-missing):
        held = [name for name in reversed(counts) if counts[name] > 0]
        counts[min(held, key=lambda name: Fraction(shares[name], 2 * counts[name] - 1))] -= 1
    return counts


def _rate(shares: Mapping[str, int], room: Mapping[str, int], keep: int) -> Fraction:
    """The rate t at which the sum of min(room, t share) over layers is ``keep``."""
    rate, left, unfilled = Fraction(0), keep, dict(shares)
    while any(unfilled.values()):
        rate = Fraction(left, sum(unfilled.values()))
        full = [name for name, share in unfilled.items() if share * rate >= room[name]]
        if not full:
            break
        for name in full:
            left -= room[name]
            del unfilled[name]
    return rate
