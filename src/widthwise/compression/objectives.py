"""What the optimisers make small: minus the limit objective (31), and the loss (8) of a given target.

Both are minus a power explained, -s'G^+ s, so both have the Gauss-Newton metric 2 (bb') * E[phi' phi'] with b = G^+ s:
the second derivative of E|f_V|^2 for moving neurons together, were the inputs independent of the slopes.
"""

from __future__ import annotations

from torch import Tensor

from widthwise.activations import Activation, get
from widthwise.compression.descent import Metric, Objective
from widthwise.compression.linalg import explained
from widthwise.compression.neurons import GaussianLayer, UnitLayer, UnitNeurons
from widthwise.compression.target import Target

__all__ = ["full_objective", "limit_energy"]


def limit_energy(activation: str | Activation) -> Objective:
    """Return the objective -R(V) for unit rows."""
    neurons = UnitNeurons(get(activation))

    def objective(V: Tensor) -> tuple[Tensor, Metric | None]:
        layer = neurons(V)
        value, b = explained(layer.gram(), V.new_ones(*V.shape[:-1], 1))
        return -value, _metric(layer, b, neurons.activation)

    return objective


def full_objective(target: Target) -> Objective:
    """Return the objective loss / power, between 0 and 1, at the best b for each V."""

    def objective(V: Tensor) -> tuple[Tensor, Metric | None]:
        layer = target.neurons(V)
        assert isinstance(layer, UnitLayer | GaussianLayer)  # the precise ones have no derivatives
        value, b = explained(layer.gram(), target.correlation_of(layer))
        return 1 - value / target.power, _metric(layer, b / target.power**0.5, target.neurons.activation)

    return objective


def _metric(layer: UnitLayer | GaussianLayer, b: Tensor, activation: Activation) -> Metric | None:
    """The metric, which an activation with jumps does not have: its slopes have no second moment."""
    return None if activation.jumps else lambda: 2 * (b @ b.mT) * layer.slopes()
