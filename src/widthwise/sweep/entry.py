"""From a name to the function that a sweep calls: a built-in entry, ``module:function`` or ``file.py:function``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widthwise._imported import function_named
from widthwise.errors import InputError, InputTypeError, check_choice, check_type
from widthwise.sweep.entries import ENTRIES

__all__ = ["Entry"]


@dataclass(frozen=True)
class Entry:
    """A function by its name, so that any process can find it.

    Attributes:
        name: as the user wrote it; part of every run's identity.
        folder: where a file is looked for, and modules beside the installed ones.
    """

    name: str
    folder: str = "."

    @classmethod
    def of(cls, entry: str | Callable[..., Any], folder: Path | None = None) -> Entry:
        """An entry from a name or from a function itself.

        Raises:
            InputTypeError: if it is neither.
            InputError: if it cannot be found; the message suggests the nearest names.
        """
        here = Path.cwd() if folder is None else folder.absolute()
        if callable(entry):
            return _of_function(entry, here)
        found = cls(check_type("run", entry, str), str(here))
        found.function()
        return found

    def function(self) -> Callable[..., Any]:
        """What is called.

        Raises:
            InputError: if it cannot be found.
        """
        if ":" not in self.name:
            try:
                built_in: Callable[..., Any] = ENTRIES[check_choice("run", self.name, ENTRIES)]
                return built_in
            except InputError as error:
                raise InputError(f"{error}; or a function of yours, as module:function or file.py:function") from None
        return function_named("run", self.name, self.folder)

    def check_arguments(self, names: Iterable[str]) -> None:
        """Refuse an argument that the function does not take, and name one that it lacks.

        Raises:
            InputError: with the nearest of the function's own.
        """
        given = set(names)
        try:
            parameters = inspect.signature(self.function()).parameters.values()
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError | InputTypeError):
                raise
            raise InputError(f"run: {self.name} does not tell its arguments, allowed is a function of yours") from error
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            taken = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
            for name in sorted(given):
                check_choice(f"argument of {self.name}", name, taken)
        for parameter in parameters:
            needed = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if needed and parameter.name not in given:
                raise InputError(f"{parameter.name}: not given, but {self.name} needs it")


def _of_function(function: Callable[..., Any], here: Path) -> Entry:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or not name.isidentifier():
        raise InputTypeError(
            f"run: got {function!r}, allowed is a function at the top of a module, so that other processes find it"
        )
    if module != "__main__":
        return Entry.of(f"{module}:{name}", here)
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        raise InputTypeError(
            f"run: {name} was typed in, allowed is a function in a file, so that other processes find it"
        )
    return Entry.of(f"{Path(file).name}:{name}", Path(file).parent)
