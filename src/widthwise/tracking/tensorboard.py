"""Runs as TensorBoard shows them: a folder a run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from widthwise.errors import InputError
from widthwise.tracking.base import TrackedRun, Tracker

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker(Tracker):
    """Writes for TensorBoard: values as scalars, settings as text and, with the results, as hyper-parameters.

    Args:
        folder: one folder a run is made below it; ``tensorboard --logdir FOLDER`` shows them.

    Raises:
        InputError: if TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._writer = _writer()

    def run(self, name: str, settings: Mapping[str, Any]) -> TrackedRun:
        """A new run, in a folder of its own."""
        stem = re.sub(r"[^\w.+=-]+", "-", name).strip("-.")[:80] or "run"
        place, count = self.folder / stem, 2
        while place.exists():
            place, count = self.folder / f"{stem}-{count}", count + 1
        return _Run(self._writer(log_dir=str(place)), settings)


class _Run(TrackedRun):
    def __init__(self, writer: Any, settings: Mapping[str, Any]) -> None:
        self._writer, self._step = writer, 0
        self._settings = {str(k): v if isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
        lines = (f"| {_cell(key)} | {_cell(value)} |" for key, value in self._settings.items())
        writer.add_text("settings", "\n".join(("| setting | value |", "| --- | --- |", *lines)))

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def _conclude(self, results: Mapping[str, float]) -> None:
        self._writer.add_hparams(self._settings, dict(results), run_name=".", global_step=self._step)

    def end(self, *, failed: bool = False) -> None:
        """Write what is pending."""
        if failed:
            self._writer.add_text("failed", "an error ended this run", self._step)
        self._writer.close()


def _writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(f"tensorboard: not installed ({error}); pip install 'widthwise[tensorboard]'") from error
    return SummaryWriter


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
