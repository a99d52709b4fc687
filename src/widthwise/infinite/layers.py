r"""Layers of infinite width that act on vectors or on every position alike.

Formulas are those of the covariance K (NNGP) and the tangent kernel T (NTK) of pre-activations, after Jacot, Gabriel
and Hongler (2018) and Lee et al. (2019).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field, replace

import torch
from torch import Tensor

from widthwise.activations import Activation, ActivationLike, get
from widthwise.errors import InputError, check_choice, check_integer, check_number, check_type
from widthwise.infinite.rules import Rule, rule_for
from widthwise.infinite.state import Pair, Rows, Trace, added, safe_ratio, together

__all__ = ["PARAMETERISATIONS", "Dense", "Layer", "LayerNorm", "Nonlinear", "Weighted", "as_layer"]

PARAMETERISATIONS = ("ntk", "standard")


class Layer(ABC):
    """One step of a network: what it does to each input by itself, then to pairs of inputs."""

    pools = False
    """Whether it needs every position paired with every other."""

    @abstractmethod
    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Return what the pairs will need of each input, and the inputs after the layer.

        Raises:
            InputError: if the layer cannot come here.
        """

    @abstractmethod
    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Return pairs of inputs after the layer."""

    def _follow(self, trace: Trace, rows: Rows) -> tuple[Trace, Rows]:
        """Bring along the pairs of each input's own positions."""
        if rows.within is None:
            return trace, rows
        return trace, replace(rows, within=self.pairs(rows.within, trace, trace))


@dataclass(frozen=True)
class Weighted(Layer):
    """What Dense and Conv share: weights of variance sigma_w^2 / fan-in and biases of variance sigma_b^2.

    Args:
        width: number of outputs, which only the standard parameterisation asks for, in the layer after.
        sigma_w: standard deviation of a weight times the root of the fan-in, above 0.
        sigma_b: standard deviation of a bias; ``None`` for a layer without biases, which in the NTK parameterisation is
            the same as 0.
        parameterisation: ``"ntk"``: the prefactors stand outside, y = sigma_w / sqrt(fan-in) W x + sigma_b b;
            ``"standard"``: y = W x + b, of which the tangent kernel is fan-in times larger.
        train: whether the tangent kernel counts this layer's parameters.
    """

    width: int | None = None
    _: KW_ONLY
    sigma_w: float = 1.0
    sigma_b: float | None = None
    parameterisation: str = "ntk"
    train: bool = True

    def __post_init__(self) -> None:
        if self.width is not None:
            check_integer("width", self.width, low=1)
        check_number("sigma_w", self.sigma_w, low=0.0, low_open=True)
        if self.sigma_b is not None:
            check_number("sigma_b", self.sigma_b, low=0.0)
        check_choice("parameterisation", self.parameterisation, PARAMETERISATIONS)
        check_type("train", self.train, bool)

    def _fan_in(self, rows: Rows, taps: int = 1) -> int | None:
        """Inputs of a unit.

        Raises:
            InputError: if the standard parameterisation needs them and the layer before does not say.
        """
        if rows.width is None and self.parameterisation == "standard":
            raise InputError(
                "width: the standard parameterisation needs the widths of all layers but the last; "
                f"state the width of the layer before {type(self).__name__}"
            )
        return None if rows.width is None else rows.width * taps

    def _own(self, weights: Tensor, covariance: Tensor, fan_in: int | None) -> Tensor:
        """The tangent kernel of this layer's own parameters, from its covariance without and with biases."""
        if self.parameterisation == "ntk":
            return covariance
        biases = 0.0 if self.sigma_b is None else 1.0
        return fan_in / self.sigma_w**2 * weights + biases  # type: ignore[operator]


@dataclass(frozen=True)
class Dense(Weighted):
    """A fully connected layer.

    K' = sigma_b^2 + sigma_w^2 K and T' = K' + sigma_w^2 T; in the standard parameterisation T' = fan-in K + 1 +
    sigma_w^2 T, without the 1 if it has no biases.

    Example:
        >>> Dense(sigma_w=2**0.5, sigma_b=0.1).parameterisation
        'ntk'
    """

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """The share of each variance that is the weights', as an angle, where there are biases."""
        if rows.space:
            raise InputError("layers: Dense follows a layer with positions; allowed after Flatten or GlobalAvgPool")
        fan_in = self._fan_in(rows)
        weights, bias = self.sigma_w * rows.r, self.sigma_b or 0.0
        after, angle = together(weights, torch.full_like(weights, bias))
        tables = (angle,) if bias else ()
        trace = Trace(rows.r, after, tables, width=fan_in)
        return self._follow(trace, rows.drawn(after, self.width))

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Add biases, the same for both inputs, to weights."""
        after = replace(pair, ntk=None)
        if left.tables:
            after = added(after, None, left.tables[0], right.tables[0])
        if pair.ntk is None:
            return after
        ntk = self.sigma_w**2 * pair.ntk
        if self.train:
            covariance = after.covariance(left.after, right.after)
            weights = covariance - self.sigma_b**2 if self.sigma_b else covariance
            ntk = ntk + self._own(weights, covariance, left.width)
        return replace(after, ntk=ntk)


@dataclass(frozen=True)
class Nonlinear(Layer):
    """An activation, at every position.

    K' = E[phi(u) phi(v)] and T' = T E[phi'(u) phi'(v)] for u, v normal with the covariance K.
    """

    activation: ActivationLike
    known: Activation = field(init=False, repr=False)
    rule: Rule = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", get(self.activation))
        object.__setattr__(self, "rule", rule_for(self.known))

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """Second moments."""
        if not rows.gaussian:
            raise InputError(
                f"layers: {self.known.name} acts on what is not normal; allowed are activations after Dense or Conv, "
                "with LayerNorm, Residual or pooling between at most"
            )
        if rows.tangent and self.known.jumps:
            raise InputError(
                f"layers: {self.known.name} jumps at {self.known.jumps[0]:g}, so that its derivative has no second "
                "moment and the tangent kernel is infinite; allowed is nngp, or a continuous activation"
            )
        after, tables, note = self.rule.rows(rows)
        trace = Trace(rows.r, after, tables, note=note)
        return self._follow(trace, replace(rows, r=after, gaussian=False, fresh=False))

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """The rule of the activation."""
        return self.rule.pairs(pair, left, right)


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalise each input over its coordinates, which at infinite width have mean 0 and a variance that is known.

    K' = K / sqrt((q1 + eps)(q2 + eps)) and the same for T.

    Args:
        eps: added to variances.
        over: ``"channels"``, each position by itself, or ``"all"`` positions together, as ``nn.LayerNorm`` of images.
    """

    eps: float = 1e-5
    over: str = "channels"

    def __post_init__(self) -> None:
        check_number("eps", self.eps, low=0.0)
        check_choice("over", self.over, ("channels", "all"))

    def trace(self, rows: Rows) -> tuple[Trace, Rows]:
        """The factor by which each input shrinks."""
        if not rows.gaussian:
            raise InputError(
                "layers: LayerNorm acts on what has no mean of 0; allowed is LayerNorm after Dense or Conv"
            )
        q = rows.r.square()
        if self.over == "all" and rows.space:
            q = q.flatten(1).mean(1).reshape(-1, *[1] * len(rows.space)).expand_as(q)
        size = torch.sqrt(q + self.eps)
        shrink = safe_ratio(torch.ones_like(size), size)
        after = rows.r * shrink
        return self._follow(Trace(rows.r, after, (shrink,)), replace(rows, r=after, fresh=False))

    def pairs(self, pair: Pair, left: Trace, right: Trace) -> Pair:
        """Correlations stay."""
        if pair.ntk is None:
            return pair
        return replace(pair, ntk=pair.ntk * pair.outer(left.tables[0], right.tables[0]).to(pair.ntk.dtype))


def as_layer(layer: Layer | ActivationLike) -> Layer:
    """Return a layer itself, and an activation as the layer that applies it.

    Raises:
        InputError: for a class in the place of an object, or an unknown activation.
    """
    if isinstance(layer, type):
        raise InputError(f"layers: got the class {layer.__name__}, allowed is an object, {layer.__name__}()")
    return layer if isinstance(layer, Layer) else Nonlinear(layer)
