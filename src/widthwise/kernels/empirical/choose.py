"""Which way to the kernel is cheapest: counted where the count is clear, measured on a few rows where it is not."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from widthwise.errors import InputError
from widthwise.kernels.empirical.blocks import Method
from widthwise.kernels.empirical.jacobian import JacobianContraction
from widthwise.kernels.empirical.layers import LayerForm
from widthwise.kernels.empirical.products import NTKVectorProducts
from widthwise.kernels.empirical.subject import Subject

__all__ = ["METHODS", "choose", "count"]

METHODS = ("auto", "jacobian", "products", "layers")
_CLEAR = 16.0  # a count so many times smaller is believed without a clock
_SMALL = 2e8  # multiplications below which a clock costs more than it saves
_SAMPLE = 8  # rows


def choose(subject: Subject, method: str, x1: Tensor, x2: Tensor | None, full: bool) -> Method:
    """The method named, or the cheapest.

    Raises:
        InputError: if ``"layers"`` is named for a model without such a layer.
    """
    if method == "jacobian":
        return JacobianContraction(subject)
    if method == "products":
        return NTKVectorProducts(subject)
    layers = LayerForm(subject, x1)
    if method == "layers":
        if not layers.applicable:
            raise InputError("method: got 'layers' for a model without a dense or plain convolutional layer to train")
        return layers
    methods: list[Method] = [JacobianContraction(subject), NTKVectorProducts(subject)]
    if layers.applicable:
        methods.insert(0, layers)
    return _cheapest(methods, layers, x1, x2, full)


def _cheapest(methods: list[Method], layers: LayerForm, x1: Tensor, x2: Tensor | None, full: bool) -> Method:
    n1, n2 = len(x1), len(x1 if x2 is None else x2)
    counts = {method.name: count(method.name, layers, n1, n2, full) for method in methods}
    least = min(counts.values())
    left = [method for method in methods if counts[method.name] <= _CLEAR * least]
    if len(left) == 1 or least < _SMALL:
        by_count = sorted(methods, key=lambda method: counts[method.name])
        return next(method for method in by_count if method.name != "products" or _follows(method, x1[:1], full))
    m = min(_SAMPLE, n1)
    estimates = {
        method.name: _seconds(method, x1[:m], full) * counts[method.name] / count(method.name, layers, m, m, full)
        for method in left
    }
    return min(left, key=lambda method: estimates[method.name])


def count(name: str, layers: LayerForm, n1: int, n2: int, full: bool) -> float:
    """Multiplications of a method, about: passes through the model, then products between examples."""
    subject, pairs = layers.subject, float(n1 * n2)
    k = subject.outputs
    blocks = k * k if full else k
    weights = sum(subject.weights(name) for name in subject.params)
    touched = sum(places * p * q for places, p, q in layers.sizes.values())
    one_pass = max(touched, sum(p.numel() for p in subject.params.values()))
    if name == "products":
        return 2.0 * k * one_pass * (n2 + pairs)
    if name == "jacobian":
        return 3.0 * (n1 + n2) * k * one_pass + pairs * blocks * weights
    total = 2.0 * (n1 + n2) * k * one_pass
    covered = 0
    for layer, (places, p, q) in layers.sizes.items():
        if layers.is_outer(layer, places):
            covered += p * q
            total += pairs * (p + blocks * q)
        else:
            total += (n1 + n2) * k * places * p * q
    return total + pairs * blocks * max(0, weights - covered)


def _follows(method: Method, x: Tensor, full: bool) -> bool:
    """Whether the model has rules for forward mode and for batches, which products alone cannot do without."""
    try:
        method.kernel(method.prepare(x), method.prepare(x), full)
    except RuntimeError:
        return False
    return True


def _seconds(method: Method, x: Tensor, full: bool) -> float:
    """Time for the kernel of ``x`` with itself, the second time; infinite where the method cannot follow the model."""

    def run() -> None:
        method.kernel(method.prepare(x), method.prepare(x), full)

    try:
        run()
        return _timed(run, x.device)
    except RuntimeError:  # no rule for an operation in forward mode, say
        return float("inf")


def _timed(run: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
