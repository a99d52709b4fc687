"""Parts of records that others may have written."""

from __future__ import annotations

from typing import Any

__all__ = ["mapping_in"]


def mapping_in(record: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a record that should be an object; an empty one if it is anything else."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}
