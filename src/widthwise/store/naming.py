"""Configs as text that is the same in any process, and the hash of it, which names a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from widthwise.errors import InputTypeError

__all__ = ["canonical", "run_hash"]


def run_hash(config: Any) -> str:
    """Content hash of a frozen dataclass: the same for equal configs in any process, 32 hexadecimal digits.

    Raises:
        InputTypeError: if ``config`` is not a dataclass instance of JSON values.
    """
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:32]


def canonical(config: Any) -> str:
    """A frozen dataclass as JSON, its fields in the order of their names.

    Raises:
        InputTypeError: if it is none, or not of JSON values.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise InputTypeError(f"config: got {config!r}, allowed is an instance of a frozen dataclass")
    named = {"type": type(config).__name__} | _fields(config)
    try:
        return json.dumps(named, sort_keys=True, allow_nan=False, default=_fields)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"config: got {config!r}, allowed are fields of JSON values ({error})") from error


def _fields(config: Any) -> dict[str, Any]:
    """The fields of a dataclass, those inside it to be asked for by JSON: no copies, unlike the library's own."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"got {config!r:.100}")
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
