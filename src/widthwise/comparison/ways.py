"""The ways of spending a weight budget, by name."""

from __future__ import annotations

from typing import Any

from widthwise.errors import InputError, check_choice
from widthwise.pruning.scores import score_names
from widthwise.widening import LastLayer

__all__ = [
    "BOTTLENECKS",
    "DENSE",
    "SPARSE",
    "check_method",
    "is_drawn",
    "is_scored",
    "last_layer",
    "methods_known",
    "widening_of",
]

DENSE, SPARSE = "dense", "sparse"
BOTTLENECKS = ("linear_bottleneck", "nonlinear_bottleneck")
_LAST = f"{SPARSE} last="


def methods_known() -> tuple[str, ...]:
    """Every legal method: dense, sparse (random static masks), the bottlenecks, and each registered pruning score."""
    return (DENSE, SPARSE, *BOTTLENECKS, *(n for n in score_names() if n != "random"))


def check_method(name: str, method: str) -> str:
    """Return a method's name if it is legal: of :func:`methods_known`, or made by :func:`last_layer`.

    Raises:
        InputError: otherwise, or for a connectivity out of range.
    """
    if method.startswith(_LAST):
        widening_of(method)
        return method
    return check_choice(name, method, methods_known())


def last_layer(connectivity: float) -> str:
    """The method of random static masks with so much of the last layer, the rest balanced over the others.

    >>> last_layer(0.5)
    'sparse last=0.5'
    """
    LastLayer(connectivity)
    return f"{_LAST}{connectivity:g}"


def is_drawn(method: str) -> bool:
    """Whether a method leaves independent draws of weights, of which kernel theory speaks."""
    return method in (DENSE, SPARSE) or method.startswith(_LAST)


def is_scored(method: str) -> bool:
    """Whether a score chooses the weights."""
    return not is_drawn(method) and method not in BOTTLENECKS


def widening_of(method: str) -> dict[str, Any] | None:
    """What :func:`widthwise.widen` takes to make a method's network; ``None`` if it does not make it.

    Raises:
        InputError: for a last layer's connectivity that is no number in (0, 1].
    """
    if method == SPARSE or method in BOTTLENECKS:
        return {"method": method}
    if not method.startswith(_LAST):
        return None
    try:
        share = float(method.removeprefix(_LAST))
    except ValueError:
        raise InputError(f"methods: got {method!r}, allowed is such as {last_layer(0.5)!r}") from None
    return {"method": SPARSE, "distribution": LastLayer(share)}
