"""From ``module:function`` or ``file.py:function`` to the function, for what users name in commands and files."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from widthwise.errors import InputError, check_choice, summary_of

__all__ = ["function_named"]


def function_named(argument: str, name: str, folder: str | Path = ".") -> Callable[..., Any]:
    """What a name stands for, which runs the code it is in.

    Args:
        argument: the argument's name, for messages.
        name: ``module:function`` or ``file.py:function``.
        folder: where a file is looked for, and modules beside the installed ones.

    Raises:
        InputError: if there is no such file, it or the module can't be imported, or it has no such function; the
            message suggests the nearest.

    >>> function_named("run", "math:sqrt")(4)
    2.0
    """
    place, _, attribute = name.rpartition(":")
    here = Path(folder).absolute()
    module = _from_file(argument, here / place) if place.endswith(".py") else _from_path(argument, place, str(here))
    if not callable(getattr(module, attribute, None)):
        functions = [n for n, f in vars(module).items() if inspect.isfunction(f) and not n.startswith("_")]
        check_choice(argument, attribute, functions)
    found: Callable[..., Any] = getattr(module, attribute)
    return found


def _from_path(argument: str, name: str, folder: str) -> ModuleType:
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        said = summary_of(error)
        raise InputError(
            f"{argument}: module {name!r} cannot be imported ({said}); write module:function or file.py:function"
        ) from error


@functools.cache
def _from_file(argument: str, path: Path) -> ModuleType:
    name = f"_widthwise_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(f"{argument}: there is no file {path}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{argument}: {path} cannot be imported ({summary_of(error)})") from error
    return module
