"""Values of any origin as text: what a file holds may be of any type and size."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["fields", "flat", "is_number", "key", "written"]

_LONGEST = 200  # characters of a value in a table
_EXACT = 10**15  # whole numbers below it are written with every digit


def is_number(value: object) -> bool:
    """Whether it is a number; truths are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def written(value: object) -> str:
    """``value`` for a reader: numbers in six significant digits, a dash for what is missing.

    >>> [written(v) for v in (None, 60000, 0.1234567, 10**400, float("inf"), True, [1, "a"])]
    ['–', '60,000', '0.123457', '1e+400', 'inf', 'yes', '[1, "a"]']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < _EXACT else _huge(value)
    full = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return full if len(full) <= _LONGEST else f"{full[: _LONGEST - 1]}…"


def _huge(value: int) -> str:
    try:
        return f"{value:.6g}"
    except OverflowError:
        return f"{'-' if value < 0 else ''}1e+{math.floor(math.log10(abs(value)))}"


def key(value: object) -> object:
    """What to sort ``value`` by, empty where it has no place among numbers; ``None`` for text, sorted as written."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return int(value)
    return value if is_number(value) else None


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings within mappings under joined names.

    >>> flat({"train": {"lr": 0.1, "steps": {"n": 3}}, "seed": 0})
    {'train.lr': 0.1, 'train.steps.n': 3, 'seed': 0}
    """
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            out |= {f"{name}.{inner}": deep for inner, deep in flat(value).items()}
        else:
            out[str(name)] = value
    return out


def fields(records: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """The names that any record has, in the order in which they first come up."""
    return list(dict.fromkeys(name for record in records for name in record))
