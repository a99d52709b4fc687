"""What is raised."""

from __future__ import annotations

__all__ = ["CollapseError", "CollapseWarning", "DataError", "InputError", "InputTypeError"]


class InputError(ValueError):
    """An argument has a value that is not allowed."""


class InputTypeError(TypeError):
    """An argument has a type that is not allowed."""


class DataError(InputError):
    """A data set or a file cannot be used; the message names the file and how to mend it."""


class CollapseError(InputError):
    """A mask empties a layer or cuts every path from input to output."""


class CollapseWarning(UserWarning):
    """The same as :class:`CollapseError`, where the caller asked for a warning only."""


for kind in (InputError, InputTypeError, DataError, CollapseError, CollapseWarning):
    kind.__module__ = "widthwise.errors"  # where users find them, and what traces call them
