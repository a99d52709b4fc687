"""The measured rule of rescaling: what each layer must be multiplied by, found in one forward pass on a batch.

Each layer gets the variance of the unpruned network of infinite width. Where gradients then still vanish or explode, as
in deep ELU networks with biases, each unit is also divided by the root of the power that its own inputs have on the
batch, relative to all inputs of the layer: half-way or all the way, whichever leaves gradients the most even.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.activations import Activation
from widthwise.duals import second_moment
from widthwise.errors import InputError
from widthwise.pruning.flow import leaves
from widthwise.pruning.gradients import as_found

__all__ = ["Layer", "LayerScale", "Measured", "as_column", "measure"]

_Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = nn.Linear | _Conv
_OWN = (0.0, 0.5, 1.0)
_EVEN = 10.0  # a ratio of gradients, either way, that needs no remedy


@dataclass(frozen=True)
class LayerScale:
    """What the weights of one layer were multiplied by.

    Attributes:
        name: the parameter's name.
        factors: one for each output unit or channel; 1 for a unit without a kept weight.
        empty: number of such units.
        variance: mean squared pre-activation of the other units on the batch, after rescaling; ``None`` by the closed
            rule.
    """

    name: str
    factors: Tensor
    empty: int
    variance: float | None = None


@dataclass(frozen=True)
class Measured:
    """What one pass gave.

    Attributes:
        scales: by the name of a layer's weight.
        own: how far a unit is scaled by the power of its own inputs, from 0 to 1.
        gradient: norm of the gradient at the first pre-activations over that at the last hidden ones, for a random
            function of the outputs; ``None`` where there is none.
    """

    scales: dict[str, LayerScale]
    own: float
    gradient: float | None


def measure(
    model: nn.Module,
    x: Tensor,
    layers: Sequence[tuple[str, Layer]],
    closed: Mapping[str, LayerScale],
    activation: Activation,
    sigma_w: float,
) -> Measured:
    """The measured rule, with as little weight on a unit's own inputs as keeps gradients even, or the most even.

    Args:
        model: in which the layers are run; left as it was found.
        x: a batch of inputs.
        layers: to be rescaled, with the names of their weights.
        closed: their scales by the closed rule.
        activation: between them.
        sigma_w: on the edge of chaos.

    Raises:
        InputError: if pre-activations are NaN or infinite.
    """
    found: list[Measured] = []
    for own in _OWN:
        found.append(_Pass(layers, closed, activation, sigma_w, own).run(model, x))
        if _unevenness(found[-1].gradient) <= math.log(_EVEN):
            break
    return min(found, key=lambda one: _unevenness(one.gradient))


def _unevenness(gradient: float | None) -> float:
    """How far a ratio is from 1, either way; 0 where there is none."""
    if gradient is None:
        return 0.0
    return abs(math.log(gradient)) if 0 < gradient < math.inf else math.inf


class _Pass:
    """One forward pass in which every layer, the first time it is met, gets the variance it should have."""

    def __init__(
        self,
        layers: Sequence[tuple[str, Layer]],
        closed: Mapping[str, LayerScale],
        activation: Activation,
        sigma_w: float,
        own: float,
    ) -> None:
        self._layers, self._closed = layers, closed
        self._activation, self._sigma_w, self._own = activation, sigma_w, own
        self._scales: dict[str, LayerScale] = {}
        self._outputs: list[Tensor] = []
        self._last: tuple[Tensor, float] | None = None  # the last pre-activations, and their mean square

    def run(self, model: nn.Module, x: Tensor) -> Measured:
        hooks = [
            layer.register_forward_hook(lambda layer, args, output, name=name: self._meet(name, layer, args[0], output))
            for name, layer in self._layers
        ]
        try:
            with as_found(model):
                gradient = self._gradient(model(x))
        finally:
            for hook in hooks:
                hook.remove()
        return Measured(self._scales, self._own, gradient)

    def _meet(self, name: str, layer: Layer, x: Tensor, output: Tensor) -> Tensor:
        """What the layer gives once it is rescaled."""
        bias = torch.zeros_like(output) if layer.bias is None else _as_units(layer.bias, layer)
        if name not in self._scales:
            self._scales[name] = self._measured(name, layer, x, output - bias, bias)
        scale = self._scales[name]
        rescaled = (output - bias) * _as_units(scale.factors.to(output.dtype), layer) + bias
        self._last = (rescaled.detach().clone(), scale.variance or 0.0)
        self._outputs.append(rescaled)
        return rescaled

    def _gradient(self, output: object) -> float | None:
        """Norm of the gradient at the first pre-activations over that at the last hidden ones."""
        if len(self._outputs) < 3 or not all(hidden.requires_grad for hidden in self._outputs):
            return None
        try:
            ends = [end for end in leaves(output) if end.requires_grad]
        except InputError:  # an output of another kind, of which there is no gradient
            return None
        generator = torch.Generator().manual_seed(0)
        probes = [torch.randn(end.shape, generator=generator).to(end) for end in ends]
        wanted = (self._outputs[0], self._outputs[-2])
        first, last = torch.autograd.grad(ends, wanted, probes, allow_unused=True)
        if first is None or last is None or not last.any():
            return None
        return float(first.double().norm() / last.double().norm())

    @torch.no_grad()
    def _measured(self, name: str, layer: Layer, x: Tensor, product: Tensor, bias: Tensor) -> LayerScale:
        """Each unit over what it hears, times one factor for all that gives them the power they should have."""
        closed = self._closed[name]
        factors = closed.factors * _heard(layer, x, closed.factors, self._own).rsqrt()
        product = product * _as_units(factors.to(product.dtype), layer)
        power = _unit_means(product.square(), layer)
        if not torch.isfinite(power).all():
            raise InputError(f"data: the pre-activations of {name!r} are NaN or infinite")
        live = power > 0
        if not live.any():
            return replace(closed, variance=0.0)
        gain = (self._wanted(layer, x) / float(power[live].mean())) ** 0.5
        variance = _unit_means((product * gain + bias).square(), layer)[live].mean()
        kept = layer.weight.flatten(1).any(1)
        return replace(closed, factors=torch.where(kept, factors * gain, 1.0), variance=float(variance))

    def _wanted(self, layer: Layer, x: Tensor) -> float:
        """sigma_w^2 times the mean squared input of a weight: E[phi^2] after a pre-activation, else measured."""
        squares = x.square()
        if self._last is not None and _same(self._activation(self._last[0]), x):
            squares = torch.full_like(x, float(second_moment(self._activation, self._last[1])))
        return self._sigma_w**2 * _mean_seen(layer, squares)


def _heard(layer: Layer, x: Tensor, factors: Tensor, own: float) -> Tensor:
    """The power of a unit's own inputs relative to all inputs of the layer, so far as ``own`` says; 1 at 0.

    For weights times ``factors``, which give all units the same sum of squares.
    """
    if not own:
        return torch.ones_like(factors)
    squares, weight = x.square(), (layer.weight * as_column(factors, layer.weight).to(layer.weight.dtype)).square()
    alike = _mean_seen(layer, squares) * weight.flatten(1).sum(1).max()
    relative = own * _unit_means(_product(layer, squares, weight), layer).double() / alike + (1 - own)
    return relative.where(relative > 0, 1.0)


def _mean_seen(layer: Layer, values: Tensor) -> float:
    """The mean of what a weight sees, over weights, examples and positions."""
    if isinstance(layer, nn.Linear):
        return float(values.mean())
    return float(_product(layer, values, torch.full_like(layer.weight, 1 / layer.weight[0].numel())).mean())


def _product(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """The layer with other weights and no bias."""
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight)
    product: Tensor = layer._conv_forward(x, weight, None)
    return product


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers in the same order, in whatever shape."""
    return a.numel() == b.numel() and torch.allclose(a.flatten(), b.flatten(), rtol=1e-4, atol=1e-7)


def _unit_means(values: Tensor, layer: Layer) -> Tensor:
    """Mean over examples and positions, for each unit or channel."""
    if isinstance(layer, nn.Linear):
        return values.flatten(0, -2).mean(0)
    return values.movedim(-layer.weight.dim() + 1, -1).flatten(0, -2).mean(0)


def _as_units(values: Tensor, layer: Layer) -> Tensor:
    """One value a unit, in a shape that multiplies the layer's output."""
    return values if isinstance(layer, nn.Linear) else values.view(-1, *[1] * (layer.weight.dim() - 2))


def as_column(values: Tensor, weight: Tensor) -> Tensor:
    """One value a unit, in a shape that multiplies the layer's weights."""
    return values.view(-1, *[1] * (weight.dim() - 1))
