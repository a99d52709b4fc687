"""What can be recorded on the way: the loss, how far the nodes moved, the NTG and how it changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from widthwise.errors import check_choice, check_type
from widthwise.flow.system import System

__all__ = ["OBSERVERS", "Observer", "Snapshot", "observers_named"]


class Snapshot:
    """The R networks of a system at one time; what is costly is worked out once, and only if asked for.

    Args:
        system: the networks.
        time: in units of the flow.
        state: their displacement.
        points: on how many of the first examples the NTG is taken; ``None`` for all.
        start: the snapshot at time zero; ``None`` if this is it.
    """

    def __init__(
        self, system: System, time: float, state: Tensor, points: int | None, start: Snapshot | None = None
    ) -> None:
        self.system, self.time, self.state, self.points = system, time, state, points
        self.start = start or self

    @cached_property
    def residual(self) -> Tensor:
        """Targets minus outputs, ``(R, N)`` float64."""
        return self.system.residual(self.state).double()

    @cached_property
    def ntg(self) -> Tensor:
        """NTG of the first output, ``(R, p, p)`` float64."""
        return self.system.ntg(self.state, self.points).double()

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Of the NTG, ``(R, p)``, increasing."""
        values: Tensor = torch.linalg.eigvalsh(self.ntg)
        return values

    @property
    def change(self) -> Tensor:
        """NTG now minus NTG at the start."""
        return self.ntg - self.start.ntg


Observer = Callable[[Snapshot], Tensor]
"""From a snapshot to a tensor with the R networks along its first dimension."""

OBSERVERS: dict[str, Observer] = {
    "loss": lambda s: s.residual.square().sum(1) / 2,
    "movement": lambda s: s.system.movement(s.state).double(),
    "largest_movement": lambda s: s.system.movement(s.state).amax(1).double(),
    "ntg": lambda s: s.ntg,
    "smallest_eigenvalue": lambda s: s.eigenvalues[:, 0],
    "largest_eigenvalue": lambda s: s.eigenvalues[:, -1],
    "ntg_change": lambda s: torch.linalg.eigvalsh(s.change).abs().amax(1),
    "ntg_change_frobenius": lambda s: torch.linalg.matrix_norm(s.change),
}
"""By name: the loss (1/2) |y - f|^2; |w_j(t) - w_j(0)| of all nodes and of the one that moved most; the NTG, its
extreme eigenvalues, and its change since the start in operator and Frobenius norm."""


def observers_named(record: Sequence[str] | Mapping[str, Observer]) -> dict[str, Observer]:
    """The observers meant by names, or a mapping to your own functions as it is.

    Raises:
        InputError: for an unknown name.
        InputTypeError: for anything else.
    """
    if isinstance(record, Mapping):
        return dict(record)
    check_type("record", record, (list, tuple))
    return {name: OBSERVERS[check_choice("record", name, OBSERVERS)] for name in record}
