"""A training's state on disk, so that it goes on in the middle of an epoch; rank 0 writes and reads it."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from widthwise._tensorfile import read_tensors, write_tensors
from widthwise.errors import DataError, InputError, check_integer, check_number, check_type
from widthwise.training.ranks import Ranks

__all__ = ["Point", "Saver"]

_CHECKPOINT = ("widthwise.fit", 1)


@dataclass
class Point:
    """How far a training is.

    Attributes:
        epoch: epochs done.
        step: steps done of the next.
        curve: ``(epoch, metric)`` on the validation set.
    """

    epoch: int = 0
    step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)


class Saver:
    """Writes and reads the state of a training.

    Args:
        path: the file, if any.
        every: seconds between two checkpoints.
        task: content hash of what the training is; a file of another one is refused.
        ranks: that train together.
    """

    def __init__(self, path: Path | None, every: float, task: str, ranks: Ranks) -> None:
        self._path, self._task, self._ranks = path, task, ranks
        self._every = check_number("save_every", every, 0)
        self._last = time.monotonic()

    def maybe(
        self, at: Point, model: nn.Module, optimizer: torch.optim.SGD, scaler: torch.amp.GradScaler, *, always: bool
    ) -> None:
        """Save, if it has been long enough."""
        late = time.monotonic() - self._last >= self._every
        if self._path is None or self._ranks.rank != 0 or not (late or always):
            return
        tensors = {f"state/{name}": value for name, value in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            velocity = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if velocity is not None:
                tensors[f"momentum/{name}"] = velocity
        header = {"task": self._task, "scaler": scaler.state_dict(), **dataclasses.asdict(at)}
        write_tensors(self._path, *_CHECKPOINT, header, tensors)
        self._last = time.monotonic()

    def restore(self, model: nn.Module, optimizer: torch.optim.SGD, scaler: torch.amp.GradScaler) -> Point:
        """Bring every rank to where the checkpoint is, if there is one."""
        header, tensors = self._read()
        device = next(model.parameters()).device
        header = self._ranks.tell(header, device)
        if not header:
            return Point()
        if self._ranks.rank == 0:  # the others take theirs from it
            self._fill(model, {n.removeprefix("state/"): t for n, t in tensors.items() if n.startswith("state/")})
        for name, parameter in model.named_parameters():
            if name in header["momentum"]:
                velocity = tensors.get(f"momentum/{name}", torch.empty(0)).to(device)
                if self._ranks.rank == 0:
                    self._check_momentum(name, velocity, parameter)
                else:
                    velocity = torch.empty_like(parameter)
                self._ranks.spread(velocity)
                optimizer.state[parameter]["momentum_buffer"] = velocity
        try:
            scaler.load_state_dict(header["scaler"])
            curve = [
                (check_integer("curve", epoch), float(check_type("curve", value, (int, float))))  # diverged, it is NaN
                for epoch, value in header["curve"]
            ]
            at = Point(check_integer("epoch", header["epoch"]), check_integer("step", header["step"]), curve)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise self._unusable(str(error)) from error
        return at

    def _fill(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise self._unusable("its weights are not those of the model") from error

    def _unusable(self, reason: str) -> DataError:
        return DataError(f"checkpoint: {self._path} is damaged ({reason:.200}), allowed is a new file")

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if self._path is None or self._ranks.rank != 0 or not self._path.exists():
            return {}, {}
        fields = {"task": str, "scaler": dict, "epoch": int, "step": int, "curve": list}
        header, tensors = read_tensors(self._path, *_CHECKPOINT, fields)
        if header["task"] != self._task:
            raise InputError(
                f"checkpoint: {self._path} is that of another training (model, mask, data or settings differ), allowed "
                "is a new file"
            )
        momentum = [name.removeprefix("momentum/") for name in tensors if name.startswith("momentum/")]
        return {**header, "momentum": momentum}, tensors

    def _check_momentum(self, name: str, velocity: Tensor, parameter: nn.Parameter) -> None:
        if velocity.shape != parameter.shape or velocity.dtype != parameter.dtype:
            raise self._unusable(f"its momentum of {name} is not that of the parameter")
