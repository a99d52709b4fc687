"""Sweeps in TOML files."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from widthwise.errors import DataError, InputError, InputTypeError, check_choice
from widthwise.sweep.entry import Entry
from widthwise.sweep.plan import Plan

__all__ = ["read_plan"]

_KEYS: dict[str, type] = {"run": str, "seeds": int, "version": int, "fixed": dict, "grid": dict, "zip": dict}


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan in a file.

    .. code-block:: toml

        run = "train"          # or "compare", "reproduce", "module:function", "file.py:function"
        seeds = 3              # adds seed = 0, 1, 2 to the grid

        [fixed]                # the same in every run
        data = "digits"

        [grid]                 # every combination
        width = [16, 64]

        [zip]                  # side by side
        method = ["dense", "snip"]
        sparsity = [0.0, 0.9]

    Raises:
        DataError: if there is no such file, or it is no TOML; the message gives the line.
        InputError: for an unknown key, with the nearest allowed, or as :class:`~widthwise.sweep.plan.Plan`.
    """
    place = Path(path)
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror}); allowed is a TOML file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: is no UTF-8 text ({error})") from None
    except (ValueError, RecursionError) as error:  # of a number with thousands of digits or brackets in brackets, too
        raise DataError(f"{place}: is no TOML: {error}") from None
    try:
        return _plan(content, place.absolute().parent)
    except InputTypeError as error:
        raise InputTypeError(f"{place}: {error}") from error
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _plan(content: dict[str, Any], folder: Path) -> Plan:
    for key, value in content.items():
        wanted = _KEYS[check_choice("key", key, _KEYS)]
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = {dict: f"a table, [{key}]", str: "a text", int: "a whole number"}[wanted]
            raise InputTypeError(f"{key}: got {value!r}, allowed is {kind}")
    if "run" not in content:
        raise InputError("run: not given, allowed is the name of what to run")
    entry = Entry.of(content["run"], folder)
    fixed, grid, together = (content.get(name, {}) for name in ("fixed", "grid", "zip"))
    return Plan(entry, fixed, grid, together, content.get("seeds"), content.get("version", 1))
