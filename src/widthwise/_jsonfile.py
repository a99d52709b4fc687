"""JSON files that others may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from widthwise.errors import DataError

__all__ = ["read_json"]


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        DataError: if it holds no JSON, or no object.
        OSError: if it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not whole JSON ({error}); remove it, or run again what wrote it") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: got {type(found).__name__} at its top, allowed is the object that widthwise writes")
    return found
