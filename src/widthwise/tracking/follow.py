"""Telling a tracker of what the package does: training loops and stores of runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from widthwise.errors import InputError
from widthwise.store import Store
from widthwise.tracking.base import TrackedRun, Tracker

__all__ = ["StoreFollower", "open_tracker", "recording"]


class _Progress(Protocol):
    @property
    def curve(self) -> Sequence[tuple[int, Sequence[float]]]: ...


def open_tracker(where: str) -> Tracker:
    """A tracker by what a user writes: ``tensorboard:FOLDER`` or ``mlflow:FOLDER-OR-ADDRESS``.

    Raises:
        InputError: for another word, nothing after it, or a library that is not installed.
    """
    from widthwise.tracking.mlflow import MLflowTracker
    from widthwise.tracking.tensorboard import TensorBoardTracker

    kinds: dict[str, Callable[[str], Tracker]] = {"tensorboard": TensorBoardTracker, "mlflow": MLflowTracker}
    kind, _, place = where.partition(":")
    if kind not in kinds or not place:
        raise InputError(f"track: got {where!r}, allowed are tensorboard:FOLDER and mlflow:FOLDER-OR-ADDRESS")
    return kinds[kind](place)


def recording(runs: Sequence[TrackedRun], metric: str) -> Callable[[_Progress], None]:
    """For ``after_epoch`` of :func:`widthwise.training.train`: tells each network's run of each new record.

    Args:
        runs: one a network, in the order of the family.
        metric: what the recorded values are called.
    """
    told = 0

    def after_epoch(progress: _Progress) -> None:
        nonlocal told
        for epoch, values in progress.curve[told:]:
            for run, value in zip(runs, values, strict=True):
                run.log(epoch, {metric: value})
        told = len(progress.curve)

    return after_epoch


class StoreFollower:
    """Tells a tracker of each run of a store once, as it is found there: for ``watch`` of a sweep, or by itself.

    When the sweep is over, :meth:`look` tells of its last runs.

    Args:
        tracker: whom to tell.
        path: the store, which need not exist yet.
        kind: of runs.
        every: seconds between two looks; :meth:`look` looks at once.
    """

    def __init__(
        self, tracker: Tracker, path: str | os.PathLike[str], kind: str = "sweep", *, every: float = 10.0
    ) -> None:
        self._tracker, self._path, self._kind, self._every = tracker, Path(path), kind, every
        self._told: set[str] = set()
        self._next = 0.0

    def __call__(self, *_: object) -> None:
        """Look if it is time."""
        if time.monotonic() >= self._next:
            self.look()
            self._next = time.monotonic() + self._every

    def look(self) -> int:
        """Tell of what is new; how many that was."""
        if not self._path.is_file():
            return 0
        with Store.existing(self._path) as store:
            runs = store.all(self._kind)
        new = [(name, c, r) for c, r in runs if (name := json.dumps(c, sort_keys=True)) not in self._told]
        for name, config, result in new:
            with self._tracker.run(f"{self._kind} {len(self._told) + 1}", _settings(config)) as run:
                run.conclude(result)
            self._told.add(name)
        return len(new)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config's fields, those of mappings in it beside the others: the arguments of a sweep's runs are such."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        out |= value if isinstance(value, Mapping) else {name: value}
    return out
