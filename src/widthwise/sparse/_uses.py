"""How often a batch uses each weight of a model's linear and convolutional layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from widthwise.errors import InputError, place_of
from widthwise.sparse.linear import SparseWeight

__all__ = ["both_uses", "numbers", "uses"]


def uses(model: nn.Module, example: Tensor) -> dict[nn.Module, int]:
    """How often a batch uses each weight of every linear and convolutional layer that it reaches.

    Raises:
        InputError: if the model does not take the example.
    """
    return {layer: times for layer, (times, _) in both_uses(model, example).items()}


def both_uses(model: nn.Module, example: Tensor) -> dict[nn.Module, tuple[int, int]]:
    """How often a batch uses each weight of every layer that it reaches, forward and backward."""
    uses: dict[nn.Module, tuple[int, int]] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        times = _times(layer, inputs[0], output)
        trained = bool(getattr(layer, "values" if isinstance(layer, SparseWeight) else "weight").requires_grad)
        forward, backward = uses.get(layer, (0, 0))
        uses[layer] = forward + times, backward + times * (trained + bool(inputs[0].requires_grad))

    with _watched(model, note), torch.enable_grad():
        try:
            model(example)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            raise InputError(
                f"example: the model does not take shape {tuple(example.shape)} ({error}{place_of(error)})"
            ) from error
    return uses


def _times(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """How often each weight is used from ``x`` to ``y``; padding counts as input."""
    if isinstance(layer, _ConvTransposeNd):
        return x.numel() // layer.in_channels
    rows = layer.shape[0] if isinstance(layer, SparseWeight) else len(layer.weight)  # type: ignore[arg-type]
    return y.numel() // max(1, rows)  # examples times places in a picture


def numbers(layer: Any) -> int:
    """Features that go into a linear or convolutional layer and come out, at each place of what comes out."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels * layer.stride[0] * layer.stride[1] + layer.out_channels
    return int(layer.in_features + layer.out_features)


@contextmanager
def _watched(model: nn.Module, note: Callable[..., None]) -> Iterator[None]:
    """Call ``note`` after each linear and convolutional layer; in evaluation mode, so that nothing is changed."""
    modes = {module: module.training for module in model.modules()}
    layers = [module for module in modes if isinstance(module, nn.Linear | _ConvNd | SparseWeight)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    model.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
