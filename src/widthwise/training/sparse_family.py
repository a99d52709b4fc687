"""Many sparse networks, of any widths, trained side by side on the same batches.

Masked dense networks cost as much as dense ones. Here only the weights that live exist: those of all networks stand in
one vector, and some steps of descent are one call of a kernel (:mod:`widthwise.sparse._kernels.descent`), which reads
each batch once for many networks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.errors import InputError
from widthwise.sparse._team import Pointers, run, threads
from widthwise.sparse._tiles import Tiling, pack, tiling
from widthwise.sparse._types import is_native, suffix
from widthwise.training.sparse_layout import Layout, Net, read

__all__ = ["SGD", "Rule", "SparseFamily"]

_GROUPS = 8  # a thread; few enough that what a group reads of a batch stays in cache, many enough to share out evenly


@dataclass(frozen=True)
class Rule:
    """How gradients become steps: :class:`torch.optim.SGD`, or with a second moment :class:`torch.optim.AdamW`.

    Attributes:
        momentum: share of the last step in the next, or of the first moment that is kept.
        weight_decay: as in either optimizer.
        second: share of the second moment that is kept; 0 for none.
    """

    momentum: float = 0.0
    weight_decay: float = 0.0
    second: float = 0.0

    @property
    def remembers(self) -> bool:
        """Whether steps depend on those before."""
        return self.momentum > 0 or self.second > 0

    def constants(self, step: int) -> list[float]:
        """What the kernel needs at a step, counted from 1."""
        corrections = [1 - self.momentum**step, 1 - self.second**step]
        return [self.momentum, self.weight_decay, self.second, *corrections, 1e-8]


SGD = Rule()


class SparseFamily:
    """Multilayer perceptrons of one depth and any widths, with ReLUs or nothing between layers; only what lives.

    Args:
        models: ``nn.Sequential(Flatten?, Linear, ReLU | Identity, Linear, ...)`` of float32 or float64 on the CPU; they
            are not changed.
        pruned: for each network the weights that stay zero, as a mapping from parameter name to a boolean tensor of
            the parameter's shape (``True`` = pruned).
        idle: of each input whether it is zero in all examples that will be trained on, so that its weights rest.

    Attributes:
        theta: all weights and biases that live, network after network.

    Raises:
        InputError: if a model is none of these, if depths, inputs, outputs or types differ, or this processor has no
            vector instructions for it.
    """

    def __init__(
        self, models: Sequence[nn.Module], pruned: Sequence[Mapping[str, Tensor]], idle: Tensor | None = None
    ) -> None:
        if not models or len(models) != len(pruned):
            raise InputError(f"models, pruned: got {len(models)} and {len(pruned)}, allowed are as many, at least one")
        self._models, self._nets = list(models), [read(m, p) for m, p in zip(models, pruned, strict=True)]
        self.inputs, self.outputs, self.layers = _common(self._models, self._nets)
        self._at = Layout.of(self._nets, np.zeros(self.inputs, bool) if idle is None else idle.cpu().numpy())
        self._relu = torch.tensor([net.relu for net in self._nets], dtype=torch.int64)
        self.theta = torch.cat([whole[at] for i in range(len(self)) for whole, at in self._wholes(i)])

    def __len__(self) -> int:
        return len(self._nets)

    def load(self, theta: Tensor) -> None:
        """Take over weights as :attr:`theta` has them."""
        self.theta.copy_(theta)

    def lost(self) -> Tensor:
        """Which networks hold NaN or infinity, ``(nets,)``."""
        bad = functional.pad((~self.theta.isfinite()).cumsum(0), (1, 0))
        return bad[self._at.bounds].diff() > 0

    def prepared(self, x: Tensor) -> Tensor:
        """Examples ``(..., inputs)`` as the other methods read them: in the networks' type, a one after the last."""
        flat = x.reshape(-1, self.inputs)
        return torch.cat([flat.to(self.theta.dtype), self.theta.new_ones(len(flat), 1)], 1)

    def forward(self, x: Tensor, *, chunk: int = 1000) -> Tensor:
        """Outputs ``(nets, n, outputs)`` for prepared examples ``(n, inputs + 1)``."""
        return torch.cat([self._outputs(part) for part in torch.split(x, chunk)], 1)

    def descend(
        self,
        x: Tensor,
        y: Tensor,
        rates: Tensor,
        rule: Rule = SGD,
        *,
        moments: Tensor | None = None,
        done: int = 0,
        weights: Tensor | None = None,
    ) -> None:
        """Some steps of stochastic descent on the mean cross-entropy, or for float targets the mean squared error.

        Args:
            x: prepared examples of each step, ``(steps, batch, inputs + 1)``.
            y: class indices ``(steps, batch)``, or values ``(steps, batch, outputs)``.
            rates: learning rate of each network, ``(nets,)``.
            rule: how gradients become steps.
            moments: what the rule remembers, zeros at first: one line as ``theta``, two with a second moment, none for
                plain descent.
            done: number of steps already done.
            weights: of the examples, ``(steps, batch)``, 1 by default; the mean is not divided by their sum.

        Raises:
            InputError: if one of these does not fit.
        """
        self._check(x, y, rates, rule, moments)
        (steps, batch), theta, at = x.shape[:2], self.theta, self._at
        tiles = tiling(batch, theta.dtype)
        packed = [pack(part, tiles)[0] for part in x]
        labels, values = _targets(y, tiles)
        counts = torch.ones(steps, batch) if weights is None else weights.view(steps, batch)
        shares = counts.to(theta.dtype) * (1 / batch if values is None else 2 / (batch * self.outputs))
        shares = functional.pad(shares, (0, tiles.examples - batch))
        team = threads(steps * batch * len(theta))
        bounds = _shared_out(at.bounds, 1 if team == 1 else _GROUPS * team)
        units, most = self._most()
        each = 2 * (units * tiles.size + most + tiles.size)
        run(
            f"descend_{suffix(theta.dtype)}", team, theta, at.columns, _offsets(self._widest(), tiles.size), at.starts,
            at.ends, at.down_starts, at.down_rows, at.down_order, at.sizes, at.units, self.layers, self.outputs,
            self._relu, bounds, len(bounds) - 1, tiles.registers, tiles.size, tiles.count,
            Pointers(packed), x.shape[2] * tiles.size, steps, shares.contiguous(),
            labels, values, moments if rule.remembers else None, rates.to(theta.dtype),
            theta.new_tensor([rule.constants(done + step + 1) for step in range(steps)]), units, most,
            theta.new_empty(team * each), each, torch.zeros(1, dtype=torch.int64),
        )  # fmt: skip

    def model(self, index: int) -> nn.Module:
        """A copy of one network as a module of its own, zeros and all."""
        model = copy.deepcopy(self._models[index])
        state, start = model.state_dict(), int(self._at.bounds[index])
        for layer, places in zip(self._nets[index].layers, self._at.places[index], strict=True):
            parameters = [state[name] for name in (layer.weight, layer.bias) if name is not None]
            whole = self.theta.new_zeros(sum(p.numel() for p in parameters))
            whole[torch.from_numpy(places)] = self.theta[start : start + len(places)]
            start += len(places)
            for parameter, part in zip(parameters, torch.split(whole, [p.numel() for p in parameters]), strict=True):
                parameter.copy_(part.view(parameter.shape))
        return model

    def _check(self, x: Tensor, y: Tensor, rates: Tensor, rule: Rule, moments: Tensor | None) -> None:
        """The kernels believe what they are told: what does not fit would be read from, or written to, elsewhere."""
        if x.dim() != 3 or x.shape[2] != self.inputs + 1 or x.dtype != self.theta.dtype or not x[..., 0].numel():
            raise InputError(
                f"x: got shape {tuple(x.shape)} of {x.dtype}, allowed is (steps, batch, inputs) as prepared"
            )
        wanted = (*x.shape[:2], self.outputs) if y.is_floating_point() else x.shape[:2]
        if y.shape != wanted or (y.is_floating_point() and y.dtype != x.dtype):
            raise InputError(f"y: got shape {tuple(y.shape)} of {y.dtype}, allowed is {tuple(wanted)} of the type of x")
        if not y.is_floating_point() and (y.dtype != torch.int64 or y.min() < 0 or y.max() >= self.outputs):
            raise InputError(f"y: allowed are int64 class indices 0 to {self.outputs - 1}")
        if rates.shape != (len(self),):
            raise InputError(f"rates: got shape {tuple(rates.shape)}, allowed is ({len(self)},)")
        lines = rule.remembers + (rule.second > 0)
        if lines and (moments is None or moments.numel() != lines * len(self.theta) or moments.dtype != x.dtype):
            raise InputError(f"moments: this rule needs {lines} lines of {len(self.theta)} numbers of {x.dtype}")

    def _wholes(self, index: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each layer its weights and biases in one line, and which of them live."""
        state = self._models[index].state_dict()
        for layer, places in zip(self._nets[index].layers, self._at.places[index], strict=True):
            names = [name for name in (layer.weight, layer.bias) if name is not None]
            yield torch.cat([state[name].flatten() for name in names]), torch.from_numpy(places)

    def _outputs(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self.inputs + 1 or x.dtype != self.theta.dtype:
            raise InputError(f"x: got shape {tuple(x.shape)} of {x.dtype}, allowed is (n, inputs) as prepared")
        tiles, at, theta = tiling(len(x), x.dtype), self._at, self.theta
        team = threads(len(x) * len(theta))
        result = theta.new_empty(len(self), self.outputs, tiles.examples)
        each = self._most()[0] * tiles.size
        run(
            f"respond_{suffix(theta.dtype)}", team, theta, at.columns, _offsets(self._widest(), tiles.size), at.starts,
            at.starts[1:], at.sizes, at.units, self.layers, self.outputs, self._relu, len(self), tiles.registers,
            tiles.size, tiles.count, pack(x, tiles)[0], x.shape[1] * tiles.size, result, theta.new_empty(team * each),
            each, torch.zeros(1, dtype=torch.int64),
        )  # fmt: skip
        return torch.transpose(result[:, :, : len(x)], 1, 2)

    def _most(self) -> tuple[int, int]:
        """Lines of activations, and weights, of the networks that have most."""
        return int(self._at.units.diff().max()) + self.layers, int(self._at.bounds.diff().max())

    def _widest(self) -> int:
        """Inputs of a layer, at most, and the one of its bias."""
        return max(self.inputs, int(self._at.sizes.max())) + 1


def _common(models: Sequence[nn.Module], nets: Sequence[Net]) -> tuple[int, int, int]:
    """Inputs, outputs and layers of all."""
    shapes = {net.shape for net in nets}
    if len(shapes) > 1:
        raise InputError(f"models: got several (inputs, outputs, layers): {sorted(shapes)}, allowed is one")
    kinds = {(p.device, p.dtype) for model in models for p in model.parameters()}
    if len(kinds) > 1 or not is_native(*next(iter(kinds))):
        names = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds))
        raise InputError(
            f"models: got parameters of types {names}, allowed is float32 or float64 on a CPU with vector instructions"
        )
    return shapes.pop()


@lru_cache(maxsize=64)
def _offsets(count: int, size: int) -> Tensor:
    return torch.arange(count) * size


def _targets(y: Tensor, tiles: Tiling) -> tuple[Tensor | None, Tensor | None]:
    """Labels, or packed values, of all steps."""
    if y.is_floating_point():
        return None, torch.stack([pack(part, tiles)[0] for part in y])
    return functional.pad(y, (0, tiles.examples - y.shape[1])), None


def _shared_out(bounds: Tensor, groups: int) -> Tensor:
    """Cuts the networks into groups of about as many weights; int64 places, at most ``groups + 1``."""
    cuts = torch.searchsorted(bounds, torch.linspace(0, float(bounds[-1]), groups + 1, dtype=torch.float64))
    result: Tensor = torch.unique(cuts)
    return result
