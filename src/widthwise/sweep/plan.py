"""What is to be run: every run of a sweep as a frozen record, before any of them starts."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from widthwise.errors import InputError, InputTypeError, check_integer
from widthwise.store import run_hash
from widthwise.sweep.entry import Entry

__all__ = ["KIND", "MOST_RUNS", "Plan", "Run", "varied"]

KIND = "sweep"
MOST_RUNS = 10**6
"""Of one plan, all of which are held in memory."""
_LIST = (list, tuple, range)


@dataclass(frozen=True)
class Run:
    """One call of an entry: its content hash names its result in the store.

    Attributes:
        entry: what is called, as the user wrote it.
        arguments: keyword arguments, JSON values.
        version: of the user's code; another version is another run.
    """

    entry: str
    arguments: Mapping[str, Any]
    version: int = 1


@dataclass(frozen=True)
class Plan:
    """An entry and the arguments of every call, checked.

    Attributes:
        entry: what is called.
        fixed: arguments common to all runs.
        grid: argument -> values; every combination is run, the last named varying fastest.
        together: arguments whose values go side by side: the first of each, then the second of each.
        seeds: adds ``seed`` = 0, 1, ... to the grid.
        version: of the entry's code.

    Raises:
        InputTypeError: for a value of the wrong type.
        InputError: for an argument the entry does not take or lacks, one given twice, an empty list, more than
            :data:`MOST_RUNS` runs.
    """

    entry: Entry
    fixed: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    together: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    seeds: int | None = None
    version: int = 1

    def __post_init__(self) -> None:
        names = [*self.fixed, *self.grid, *self.together]
        if self.seeds is not None:
            check_integer("seeds", self.seeds, 1)
            names.append("seed")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"{twice[0]}: given twice, allowed is one place among fixed, grid, zip and seeds")
        for name, values in [*self.grid.items(), *self.together.items()]:
            _check_list(name, values)
        if len({len(values) for values in self.together.values()}) > 1:
            lengths = ", ".join(f"{name} {len(values)}" for name, values in self.together.items())
            raise InputError(f"zip: got lists of different lengths ({lengths}), allowed are lists of one length")
        _json(dict(self.fixed))
        check_integer("version", self.version, 0)
        self._check_number()
        self.entry.check_arguments(names)

    def _check_number(self) -> None:
        sides = [len(values) for values in self.grid.values()]
        number = math.prod(sides) * (self.seeds or 1) * max([1, *map(len, self.together.values())])
        if number > MOST_RUNS:
            raise InputError(f"grid: got {number} runs, allowed are at most {MOST_RUNS}; split the sweep")

    def runs(self) -> dict[str, Run]:
        """Every run by its hash, each once."""
        found = (Run(self.entry.name, arguments, self.version) for arguments in self._arguments())
        return {run_hash(run): run for run in found}

    def _arguments(self) -> list[dict[str, Any]]:
        grid = dict(self.grid)
        if self.seeds is not None:
            grid["seed"] = range(self.seeds)
        rows = list(zip(*self.together.values(), strict=True)) if self.together else [()]
        plain = json.loads(_json(self.fixed))
        return [
            {**plain, **dict(zip(self.together, row, strict=True)), **dict(zip(grid, point, strict=True))}
            for row in rows
            for point in itertools.product(*grid.values())
        ]


def varied(runs: Sequence[Run]) -> list[str]:
    """Arguments that are not the same in all runs, or of the only one all."""
    names = list(dict.fromkeys(name for run in runs for name in run.arguments))
    if len(runs) == 1:
        return names
    return [n for n in names if len({_json(run.arguments.get(n)) for run in runs}) > 1]


def _check_list(name: str, values: Any) -> None:
    if not isinstance(values, _LIST):
        raise InputTypeError(f"{name}: got {values!r}, allowed is a list of values; a single one goes under fixed")
    if not values:
        raise InputError(f"{name}: got an empty list, allowed is at least one value")
    _json(list(values))


def _json(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputTypeError(f"arguments: got {value!r:.200}, allowed are JSON values ({error})") from error
