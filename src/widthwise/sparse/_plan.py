"""What becomes of each layer of a model that is made sparse, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, check_choice, check_integer, check_type
from widthwise.masks import Mask
from widthwise.sparse._uses import numbers, uses
from widthwise.sparse.calibration import calibrated
from widthwise.weights import check_has_values, unwrapped

__all__ = ["Decision", "Policy", "places_of", "plan"]

Policy = Literal["auto", "always"]
_PLACES = 64  # at which a convolution uses each weight, if no example tells: a picture of 8 x 8, as deep layers see it
_KINDS = (nn.Linear, nn.Conv2d)
FULL = "stays dense: no weight is zero"
_NOT_PLAIN = "stays dense: not a plain layer (a subclass, or its weight is computed)"


@dataclass(frozen=True)
class Decision:
    """What becomes of one layer.

    Attributes:
        name: of the layer in the model.
        weights: how many it has.
        kept: how many of them live.
        dense: estimated seconds of the dense layer for one batch; 0 where nothing was estimated.
        sparse: estimated seconds of the sparse one.
        reason: why it stays dense, or an empty string if it becomes sparse.
    """

    name: str
    weights: int
    kept: int
    dense: float
    sparse: float
    reason: str

    @property
    def converts(self) -> bool:
        """Whether the layer becomes sparse."""
        return not self.reason

    def __str__(self) -> str:
        fate = f"sparse, {self.dense / self.sparse:.1f}x as fast" if self.converts and self.sparse else self.reason
        return f"{self.name or 'the layer'}: {fate or 'sparse'}, {self.kept} of {self.weights} weights live"


def plan(
    model: nn.Module,
    mask: Mask | None = None,
    *,
    policy: Policy = "auto",
    batch: int | None = None,
    training: bool | None = None,
    example: Tensor | None = None,
) -> list[Decision]:
    """What :func:`sparsify` would do with each linear and convolutional layer, and why; changes nothing.

    Args:
        model: as for :func:`sparsify`, as are the other arguments.
        mask: which weights live.
        policy: ``"auto"`` or ``"always"``.
        batch: examples a batch.
        training: whether the backward pass counts.
        example: a batch.

    Raises:
        InputError: for an unknown policy, a batch below 1, a mask of another model, or a model without values.
        InputTypeError: for an argument of the wrong type.
    """
    check_has_values(check_type("model", model, nn.Module))
    check_choice("policy", policy, ("auto", "always"))
    inner = unwrapped(model)
    places, times = places_of(inner, mask), _uses(inner, batch, example)
    shared, measured = _shared(inner), policy == "auto"
    return [
        _decide(name, module, places.get(f"{name}.weight" if name else "weight"), shared, measured,
                times.get(module, (0, 0)), inner.training if training is None else training)
        for name, module in inner.named_modules()
        if isinstance(module, _KINDS)
    ]  # fmt: skip


def places_of(model: nn.Module, mask: Mask | None) -> Mapping[str, Tensor]:
    """Boolean tensors by parameter name; none for parameters whose own zeros count."""
    if mask is None:
        return Mask.of(model) or {}
    check_type("mask", mask, Mask)
    parameters = dict(model.named_parameters())
    for name, places in mask.items():
        if name not in parameters or parameters[name].shape != places.shape:
            raise InputError(f"mask: {name!r} of shape {tuple(places.shape)} is no weight of the model")
    return mask


def _shared(model: nn.Module) -> set[int]:
    """Parameters that stand in the model more than once."""
    counts = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    return {key for key, count in counts.items() if count > 1}


def _uses(model: nn.Module, batch: int | None, example: Tensor | None) -> dict[nn.Module, tuple[int, float]]:
    """Of every layer, as how many examples it sees a batch, and at how many places of a picture each.

    Linear layers take each place, or word, for an example. A layer that the example doesn't reach is not in it.
    """
    size = 128 if example is None else len(check_type("example", example, Tensor))
    wanted = size if batch is None else check_integer("batch", batch, 1)
    if example is None:
        layers = (module for module in model.modules() if isinstance(module, _KINDS))
        return {layer: (wanted, _PLACES if isinstance(layer, nn.Conv2d) else 1) for layer in layers}
    found = {layer: max(1, round(times * wanted / max(1, size))) for layer, times in uses(model, example).items()}
    return {
        layer: (wanted, times / wanted) if isinstance(layer, nn.Conv2d) else (times, 1)
        for layer, times in found.items()
    }


def _decide(
    name: str, layer: nn.Module, mask: Tensor | None, shared: Collection[int], measured: bool,
    uses: tuple[int, float], training: bool,
) -> Decision:  # fmt: skip
    weight: Tensor | None = layer._parameters.get("weight")
    if weight is None:
        return Decision(name, 0, 0, 0.0, 0.0, _NOT_PLAIN)
    kept = int((weight if mask is None else mask).count_nonzero())
    reason = _obstacle(layer, weight, shared)
    if reason:
        return Decision(name, weight.numel(), kept, 0.0, 0.0, reason)
    if kept == weight.numel():
        return Decision(name, kept, kept, 0.0, 0.0, FULL)
    if not measured:
        return Decision(name, weight.numel(), kept, 0.0, 0.0, "")
    batch, places = uses
    if not batch:
        return Decision(name, weight.numel(), kept, 0.0, 0.0, "stays dense: the example does not reach it")
    costs = calibrated("conv" if isinstance(layer, nn.Conv2d) else "linear")
    sizes: dict[str, Any] = {"batch": batch, "numbers": numbers(layer), "places": places, "training": training}
    dense, sparse = costs.seconds(weight.numel(), kept, **sizes)
    limit = costs.break_even(weight.numel(), **sizes)
    slower = f"stays dense: faster here below {limit:.0%} sparsity" if dense <= sparse else ""
    return Decision(name, weight.numel(), kept, dense, sparse, slower)


def _obstacle(layer: nn.Module, weight: Tensor, shared: Collection[int]) -> str:
    """Why ``layer`` can't become sparse, whatever its zeros."""
    if type(layer) not in _KINDS:
        return _NOT_PLAIN
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        return f"stays dense: it pads with {layer.padding_mode}, not with zeros"
    if id(weight) in shared:
        return "stays dense: its weight is shared with another layer"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return "stays dense: it has hooks"
    if not weight.isfinite().all():
        return "stays dense: it holds numbers that are not finite"
    if weight.dtype not in (torch.float32, torch.float64) or weight.device.type != "cpu":
        return f"stays dense: no fast kernel for {weight.dtype} on {weight.device.type}"
    return ""
