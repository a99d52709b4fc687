"""How a wide network spends a budget of weights, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from widthwise.masks import LayerCount
from widthwise.widening.pairs import Pair

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """How a wide network spends the weights of a narrow one.

    Attributes:
        method: ``"sparse"``, ``"linear_bottleneck"`` or ``"nonlinear_bottleneck"``.
        base_width: width of the narrow network.
        width: width of the wide one.
        budget: number of weights to spend: those of the narrow network, for the linear bottleneck those of the narrow
            network with every layer split at full rank.
        layers: what each layer spends, out of what it has in a wide network without sparsity or bottleneck.
        inner: size of each bottleneck, by the name of the weight that is split or that makes the inner units.
        unit: weights of the costliest unit that could be added or taken: one weight, or an inner unit.
        pairs: for the non-linear bottleneck, the layers between which the inner units are.
    """

    method: str
    base_width: int
    width: int
    budget: int
    layers: tuple[LayerCount, ...]
    inner: Mapping[str, int] = field(default_factory=dict)
    unit: int = 1
    pairs: tuple[Pair, ...] = ()

    @property
    def weights(self) -> int:
        """Number of weights spent."""
        return sum(layer.kept for layer in self.layers)

    @property
    def error(self) -> int:
        """Weights spent beyond the budget: 0 for sparsity; for a bottleneck at most half a unit, up or down."""
        return self.weights - self.budget

    @property
    def connectivity(self) -> float:
        """Weights spent, over those of the wide network without sparsity or bottleneck."""
        return self.weights / sum(layer.total for layer in self.layers)

    @property
    def summary(self) -> str:
        """One line: the widths, the budget, and how closely it is met."""
        met = "exactly"
        if self.error:
            met = f"{self.error:+,} weights ({self.error / self.budget:+.2%}); one inner unit has up to {self.unit:,}"
        return f"{self.method}, width {self.base_width} to {self.width}, {self.budget:,} weights met: {met}"

    def report(self) -> str:
        """A table of text, a line for each layer, the summary last."""
        head = ["layer", "shape", "weights", "of the dense", *(["inner size"] if self.inner else [])]
        rows = [head]
        for one in self.layers:
            shape = "x".join(map(str, one.shape))
            inner = [str(self.inner.get(one.name, ""))] if self.inner else []
            rows.append([one.name, shape, f"{one.kept:,}", f"{one.connectivity:.1%}", *inner])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, self.summary])
