"""Data sets by name: the built-in ones and the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from widthwise.data import openml
from widthwise.data.arrays import from_arrays
from widthwise.data.dataset import Dataset
from widthwise.errors import DataError, InputError, check_choice, check_type

__all__ = ["Loader", "load_named", "names", "register"]

Loader = Callable[[], Dataset]

_LOADERS: dict[str, Loader] = {}


def register(name: str) -> Callable[[Loader], Loader]:
    """Make a function without arguments that returns a :class:`~widthwise.data.Dataset` known by ``name``.

    Raises:
        InputTypeError: if the name is no string.
        InputError: if it is taken, or is not made of letters, digits, ``-`` and ``_``.

    >>> @register("coin")
    ... def coin():
    ...     return from_arrays("coin", [[0.0], [1.0]], ["heads", "tails"])
    >>> "coin" in names()
    True
    >>> del _LOADERS["coin"]
    """
    check_type("name", name, str)
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"name: got {name!r}, allowed are letters, digits, - and _")
    if name in names():
        raise InputError(f"name: got {name!r}, which is taken; allowed is any other than {', '.join(names())}")

    def keep(loader: Loader) -> Loader:
        _LOADERS[name] = loader
        return loader

    return keep


def names() -> tuple[str, ...]:
    """Return the names that :func:`~widthwise.data.load` knows, in alphabetical order."""
    return tuple(sorted({*_LOADERS, *openml.SOURCES}))


def load_named(name: str, cache: Path | None = None) -> Dataset:
    """Return the data set known by ``name``.

    Raises:
        DataError: if there is none of that name; the message lists them and suggests the nearest.
        InputTypeError: if its loader returns something else.
    """
    try:
        check_choice("data", name, names())
    except InputError as error:
        raise DataError(f"{error}; or give the path of a file or folder") from None
    if name in openml.SOURCES:
        return openml.fetch(name, cache)
    return check_type(f"the loader of {name!r}", _LOADERS[name](), Dataset)


@register("digits")
def _digits() -> Dataset:
    """Return the 1797 handwritten digits bundled with scikit-learn, 8 x 8 pixels in 0..1."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return from_arrays("digits", bunch.images[:, None] / 16, bunch.target, classes=tuple("0123456789"))
