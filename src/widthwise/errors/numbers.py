"""Checks of numbers: their kind and their bounds."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from widthwise.errors.kinds import InputError, InputTypeError
from widthwise.errors.words import outlined, shown

__all__ = ["check_depth", "check_integer", "check_number", "check_threads"]

_LARGEST = 2**63 - 1  # of PyTorch's sizes and seeds
_DEEPEST = 10**6  # layers: more would fill the memory before anything is said
_MOST_THREADS = 1024  # of a process: OpenMP ends it where the system refuses one


def check_integer(name: str, got: Any, low: int = 0, high: int | None = None) -> int:
    """Return ``got`` as an ``int`` if it is a whole number in ``[low, high]``.

    Args:
        name: the argument's name, for the message.
        got: what the caller passed.
        low: smallest value allowed.
        high: largest value allowed, ``None`` for what 64 bits hold.

    Raises:
        InputTypeError: if ``got`` is not a whole number (``True`` is none).
        InputError: if it lies outside the bounds.
    """
    if isinstance(got, bool) or not isinstance(got, Integral):
        raise InputTypeError(f"{name}: got {outlined(got)}, allowed is a whole number")
    value = int(got)
    if not low <= value <= (_LARGEST if high is None else high):
        bound = f"{low} to {high}" if high is not None else f"at least {low}" + " and below 2**63" * (value > low)
        raise InputError(f"{name}: got {shown(value)}, allowed is a whole number, {bound}")
    return value


def check_depth(got: Any, low: int = 1) -> int:
    """Return ``got`` as an ``int`` if it is a number of layers that can be built.

    Raises:
        InputTypeError: if ``got`` is not a whole number.
        InputError: if it is below ``low`` or above a million.
    """
    return check_integer("depth", got, low, _DEEPEST)


def check_threads(name: str, got: Any) -> int:
    """Return ``got`` as an ``int`` if it is a number of threads that a process may have.

    Raises:
        InputTypeError: if ``got`` is not a whole number.
        InputError: if it is below 1 or above 1024.
    """
    return check_integer(name, got, 1, _MOST_THREADS)


def check_number(
    name: str,
    got: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Return ``got`` as a ``float`` if it is a finite number between ``low`` and ``high``.

    Args:
        name: the argument's name, for the message.
        got: what the caller passed.
        low: smallest value allowed.
        high: largest value allowed.
        low_open: whether ``low`` itself is excluded.
        high_open: whether ``high`` itself is excluded.

    Raises:
        InputTypeError: if ``got`` is not a real number.
        InputError: if it is not finite or lies outside the interval.
    """
    if isinstance(got, bool) or not isinstance(got, Real):
        raise InputTypeError(f"{name}: got {outlined(got)}, allowed is a number")
    try:
        value = float(got)
    except OverflowError:  # a whole number or a fraction beyond any float
        value = math.inf
    below = value <= low if low_open else value < low
    above = value >= high if high_open else value > high
    if not math.isfinite(value) or below or above:
        left = "(" if low_open or math.isinf(low) else "["
        said = shown(got) if isinstance(got, int) else f"{got}"  # of NumPy's without the name of its type
        right = ")" if high_open or math.isinf(high) else "]"
        raise InputError(f"{name}: got {said}, allowed is a number in {left}{low:g}, {high:g}{right}")
    return value
