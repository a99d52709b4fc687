r"""Bring a pruned network back onto the edge of chaos: the rescaling trick.

Pruning takes variance from every layer, and in a deep network the signal vanishes. The trick multiplies the kept
weights of each output unit by

.. math:: \rho_i = \sigma_w / \sqrt{\textstyle\sum_j W_{ij}^2 \delta_{ij}},

with :math:`\sigma_w` on the edge of chaos. The printed algorithm lacks :math:`\sigma_w`, which is 1 for tanh without
biases but :math:`\sqrt 2` for ReLU.

That closed rule takes kept weights to be independent of the signal. Those of SNIP are not: they sit between active
units, and with ReLU the signal then grows from layer to layer. The measured rule multiplies each layer by one more
factor, so that the mean squared pre-activation on a batch is what it is in the unpruned network of infinite width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from widthwise import activations
from widthwise.activations import ActivationLike
from widthwise.errors import InputError, check_choice, check_finite, check_number, check_type
from widthwise.masks import Mask
from widthwise.meanfield import edge_of_chaos
from widthwise.pruning.batches import Batches, Data
from widthwise.pruning.measured import Layer, LayerScale, as_column, measure
from widthwise.weights import check_has_values, prunable, unwrapped

__all__ = ["LayerScale", "Rescaled", "rescale"]


@dataclass(frozen=True)
class Rescaled:
    """What :func:`rescale` did.

    Attributes:
        rule: ``"closed"`` or ``"measured"``.
        sigma_w: standard deviation of a weight, times the root of its fan-in, on the edge of chaos.
        layers: in the model's order, or by the measured rule in the order of its forward pass.
        left: names of masked parameters that were left alone: neither linear nor convolutional, or not run as a
            module of its own.
        own: how far a unit is scaled by the power of its own inputs: 0, 0.5 or 1; 0 by the closed rule.
        gradient: norm of the gradient at the first layer's pre-activations over that at the last hidden one's, for a
            random function of the outputs; ``None`` by the closed rule, or where there is none.
    """

    rule: str
    sigma_w: float
    layers: tuple[LayerScale, ...]
    left: tuple[str, ...]
    own: float = 0.0
    gradient: float | None = None

    def __str__(self) -> str:
        lines = [f"{self.rule} rule, sigma_w = {self.sigma_w:.6g}"]
        lines[0] += f", own inputs weigh {self.own:g}" if self.own else ""
        lines[0] += "" if self.gradient is None else f", gradient x {self.gradient:.3g} from last to first layer"
        for layer in self.layers:
            low, middle, high = (float(f(layer.factors)) for f in (torch.min, torch.median, torch.max))
            line = f"  {layer.name}: x {middle:.4g} ({low:.4g} to {high:.4g})"
            line += "" if layer.variance is None else f", variance {layer.variance:.4g}"
            lines.append(line + (f", {layer.empty} units without a weight" if layer.empty else ""))
        return "\n".join([*lines, *(f"  {name}: left alone" for name in self.left)])


def rescale(
    model: nn.Module,
    mask: Mask,
    activation: ActivationLike | None = None,
    rule: str = "auto",
    data: Data | Tensor | None = None,
    *,
    sigma_b: float = 0.0,
    sigma_w: float | None = None,
) -> Rescaled:
    """Multiply the kept weights of ``model``, in place, so that the pruned network is on the edge of chaos.

    For networks without normalisation between their layers; residual networks are on the edge before and after
    pruning (the paper's Proposition 3), and BatchNorm undoes any factor.

    Args:
        model: initialised and pruned; linear and convolutional layers are rescaled, the last one included.
        mask: the mask in force on it.
        activation: what it has between layers; found in the model if that has one kind only.
        rule: ``"closed"``, right for masks that ignore the signal; ``"measured"``, right for any; ``"auto"``: measured
            where there are data.
        data: ``(x, y)``, a loader, whose first batch is used, or the inputs ``x`` alone.
        sigma_b: standard deviation of the biases.
        sigma_w: that of the weights times the root of their fan-in, if not the one on the edge of chaos.

    Returns:
        What each layer was multiplied by.

    Raises:
        InputError: if the activation cannot be told or has no edge of chaos at ``sigma_b``; if the mask is not in
            force; if data are missing, or give NaN. The model is then left untouched.
        InputTypeError: if an argument has the wrong type.

    Source: Hayou, Ton, Doucet, Teh, "Robust Pruning at Initialization", Proposition 1 and Algorithm 1.

    Example:
        >>> from widthwise import models, pruning
        >>> model = models.mlp(64, 10, width=32, depth=3, activation="tanh")
        >>> mask = pruning.prune(model, 0.9, "random")
        >>> done = rescale(model, mask)
        >>> done.rule, bool(model.hidden2.weight.square().sum(1)[:3].sub(1).abs().max() < 1e-5)
        ('closed', True)
    """
    inner = unwrapped(check_type("model", model, nn.Module))
    check_has_values(inner)
    _check_in_force(inner, check_type("mask", mask, Mask))
    check_choice("rule", rule, ("auto", "closed", "measured"))
    check_number("sigma_b", sigma_b, 0)
    phi = activations.of_model(inner) if activation is None else activations.get(activation)
    if sigma_w is None:
        sigma_w = edge_of_chaos(phi, sigma_b)[0]
    check_number("sigma_w", sigma_w, 0, low_open=True)
    if rule == "measured" and data is None:
        raise InputError("data: got None, but the measured rule needs a batch")
    layers = _layers(inner)
    weights = {name: layer.weight for name, layer in layers}
    scales = {name: _closed(name, weight, sigma_w) for name, weight in weights.items()}
    done = Rescaled("closed", sigma_w, tuple(scales.values()), ())
    if data is not None and rule != "closed":
        found = measure(inner, _inputs(inner, data), layers, scales, phi, sigma_w)
        scales = found.scales
        done = Rescaled("measured", sigma_w, tuple(scales.values()), (), found.own, found.gradient)
    with torch.no_grad():
        for name, scale in scales.items():
            weight = weights[name]
            weight.mul_(as_column(scale.factors, weight).to(weight.dtype))
    return replace(done, left=tuple(name for name in mask if name not in scales))


def _closed(name: str, weight: Tensor, sigma_w: float) -> LayerScale:
    """sigma_w over the root of the sum of a unit's squared weights; over all taps for a convolution."""
    energy = check_finite(f"model: {name!r}", weight.detach()).double().square().flatten(1).sum(1)
    some = energy > 0
    factors = torch.where(some, sigma_w * energy.where(some, 1).rsqrt(), 1.0)
    return LayerScale(name, factors, int((~some).sum()))


def _layers(model: nn.Module) -> list[tuple[str, Layer]]:
    """The linear and convolutional layers with the names of their weights, which several of them may share."""
    names = {id(parameter): name for name, parameter in prunable(model).items()}
    found = [
        (names[id(module.weight)], module)
        for module in model.modules()
        if isinstance(module, Layer) and id(module._parameters.get("weight")) in names
    ]
    if not found:
        raise InputError("model: got no linear or convolutional layer, and only those can be rescaled")
    return found


def _check_in_force(model: nn.Module, mask: Mask) -> None:
    weights = prunable(model)
    if Mask.dense(model).keys() != mask.keys() or any(mask[n].shape != w.shape for n, w in weights.items()):
        raise InputError("mask: got other names or shapes than those of the model's prunable parameters")
    for name, weight in weights.items():
        if weight.detach()[~mask[name].to(weight.device)].any():
            raise InputError(f"mask: is not in force, {name!r} has weights that it removes; call mask.apply(model)")


def _inputs(model: nn.Module, data: Data | Tensor) -> Tensor:
    device = next(iter(prunable(model).values())).device
    return Batches((data, None) if isinstance(data, Tensor) else data, device).first()[0]
