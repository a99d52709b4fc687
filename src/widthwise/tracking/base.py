"""What every tracker does: it is told of runs, of values step by step, and of results."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Real
from types import TracebackType
from typing import Any

from widthwise.errors import InputTypeError, check_integer, check_type

__all__ = ["TrackedRun", "Tracker", "numbers_in"]


class TrackedRun(ABC):
    """One run that is followed; as a context manager it ends by itself, as failed if an exception ends it."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell values of one step, such as an epoch; NaN and infinity are values too.

        Raises:
            InputTypeError: if a value is no number.
        """
        self._log(check_integer("step", step, 0), numbers_in("values", values))

    def conclude(self, results: Mapping[str, Any]) -> None:
        """Tell what came out in the end; what is no number is left out."""
        self._conclude({name: _as_float(v) for name, v in results.items() if _is_number(v)})

    @abstractmethod
    def end(self, *, failed: bool = False) -> None:
        """Nothing more will come."""

    @abstractmethod
    def _log(self, step: int, values: Mapping[str, float]) -> None: ...

    @abstractmethod
    def _conclude(self, results: Mapping[str, float]) -> None: ...

    def __enter__(self) -> TrackedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(failed=error is not None)


class Tracker(ABC):
    """Somewhere runs are followed. An own one overrides :meth:`run`."""

    @abstractmethod
    def run(self, name: str, settings: Mapping[str, Any]) -> TrackedRun:
        """A new run.

        Args:
            name: for people; several runs may have the same.
            settings: every choice that shaped it.
        """


def numbers_in(name: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Values as floats.

    Raises:
        InputTypeError: if one is no number.
    """
    for key, value in check_type(name, values, Mapping).items():
        if not _is_number(value):
            raise InputTypeError(f"{name}: got {value!r} for {key!r}, allowed are numbers")
    return {str(key): _as_float(value) for key, value in values.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
