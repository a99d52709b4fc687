"""One block of a model on the workbench: what goes in, what should come out, and what M neurons make of it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.activations import Activation
from widthwise.compression.blocks import Block, layer_inputs
from widthwise.compression.refit import refit, relative_error
from widthwise.compression.report import BlockReport
from widthwise.compression.two_layer import compress

__all__ = ["Smaller", "Workbench"]

_TIMED_ROWS = 2048
_REPEATS = 7


@dataclass(frozen=True)
class Smaller:
    """A block with fewer hidden units, and its errors as :class:`BlockReport` has them.

    Attributes:
        first: its first layer.
        second: its second layer, refitted on data.
        unfitted: its second layer before that.
        predicted: part of the power lost for Gaussian inputs.
        raw_error: part of the variance lost on held-out data with ``unfitted``.
        error: the same with ``second``.
    """

    first: nn.Linear
    second: nn.Linear
    unfitted: nn.Linear
    predicted: float
    raw_error: float
    error: float


class Workbench:
    """A block of ``model`` under the inputs that the model's ``batches`` give it.

    Args:
        model: the model.
        block: which block.
        batches: inputs of the model.
        rows: at most so many inputs of the block are used.
        options: of :func:`~widthwise.compression.compress`.
    """

    def __init__(self, model: nn.Module, block: Block, batches: list[Tensor], rows: int, **options: Any) -> None:
        self.block, self.options = block, options
        self.first, self.second = block.layers(model)
        self.inputs = layer_inputs(model, block.first, batches, rows)
        self._x = self.inputs.double()
        self._W, self._A = (layer.weight.detach().double() for layer in (self.first, self.second))
        self._bias = _bias(self.first)
        self._wanted = block.activation(self._x @ self._W.T + self._bias) @ self._A.T
        self._made: dict[int, Smaller] = {}

    @property
    def hidden(self) -> int:
        """Number of hidden units now."""
        return self.first.out_features

    @property
    def curve(self) -> tuple[tuple[int, float], ...]:
        """(M, error) for every size made so far."""
        return tuple((M, self._made[M].error) for M in sorted(self._made))

    def at(self, M: int) -> Smaller:
        """Return the block with M hidden units; each size is made once."""
        if M not in self._made:
            self._made[M] = self._make(M)
        return self._made[M]

    def report(self, M: int) -> BlockReport:
        """Return what is known about the block at M hidden units, timing included."""
        small = self.at(M)
        before, after = self._seconds((self.first, self.second), (small.first, small.second))
        return BlockReport(
            first=self.block.first,
            second=self.block.second,
            activation=self.block.activation.name,
            N=self.hidden,
            M=M,
            weights_before=self.first.weight.numel() + self.second.weight.numel(),
            weights_after=small.first.weight.numel() + small.second.weight.numel(),
            predicted=small.predicted,
            error=small.error,
            raw_error=small.raw_error,
            seconds_before=before,
            seconds_after=after,
            curve=self.curve,
        )

    def _make(self, M: int) -> Smaller:
        mean, covariance = self._x.mean(0), torch.cov(self._x.T).reshape(self._x.shape[1], -1)
        small = compress(
            self._W,
            self._A.T * self.hidden,
            M,
            self.block.activation,
            self._bias,
            mean=mean,
            covariance=covariance,
            **self.options,
        )
        assert small.bias is not None
        features = small.activation(self._x @ small.V.T + small.bias)
        raw = small.b / M
        b, intercept = refit(features, self._wanted, raw)
        return Smaller(
            first=_linear(small.V, small.bias, like=self.first.weight),
            second=_linear(b.T, intercept + _bias(self.second), like=self.second.weight),
            unfitted=_linear(raw.T, _bias(self.second), like=self.second.weight),
            predicted=small.relative_loss,
            raw_error=relative_error(features @ raw, self._wanted),
            error=relative_error(features @ b + intercept, self._wanted),
        )

    @torch.no_grad()
    def _seconds(self, *pairs: tuple[nn.Linear, nn.Linear]) -> list[float]:
        """Median time of each pair of layers, in turns."""
        x, activation = self.inputs[:_TIMED_ROWS], self.block.activation
        times = [[_timed(pair, activation, x) for pair in pairs] for _ in range(_REPEATS)]
        return [statistics.median(column) for column in zip(*times, strict=True)]


def _timed(pair: tuple[nn.Linear, nn.Linear], activation: Activation, x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    start = time.perf_counter()
    pair[1](activation(pair[0](x)))
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start


def _bias(layer: nn.Linear) -> Tensor:
    return layer.weight.new_zeros(layer.out_features).double() if layer.bias is None else layer.bias.detach().double()


def _linear(weight: Tensor, bias: Tensor, *, like: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=like.device, dtype=like.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer.requires_grad_(like.requires_grad)
