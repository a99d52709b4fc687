"""Stacked chains of linear layers and activations: batched matrix products, forward and backward.

A hand-written backward pass costs a handful of kernels a layer. At the sizes a small weight budget gives, it
is the number of kernels, not their arithmetic, that takes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widthwise import activations
from widthwise.training.objective import Objective

__all__ = ["Chain"]

TensorMap = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Linear:
    weight: str
    bias: str | None


@dataclass(frozen=True)
class _Activation:
    phi: TensorMap
    derivative: TensorMap


class Chain:
    """``nn.Sequential(Flatten?, Linear, activation, Linear, ...)`` for a stack of networks.

    Args:
        steps: the layers in order, after flattening.
    """

    name = "chain"

    def __init__(self, steps: list[_Linear | _Activation]) -> None:
        self._steps = steps

    @classmethod
    def of(cls, module: nn.Module) -> Chain | None:
        """Read a chain off a module, or return ``None`` where it is none."""
        if type(module) is not nn.Sequential or len(set(module)) != len(module):
            return None
        steps: list[_Linear | _Activation] = []
        for name, layer in module.named_children():
            if type(layer) is nn.Linear:
                steps.append(_Linear(f"{name}.weight", f"{name}.bias" if layer.bias is not None else None))
            elif type(layer) is nn.Flatten and not steps and (layer.start_dim, layer.end_dim) == (1, -1):
                continue
            elif (activation := activations.of_module(layer)) is not None:
                steps.append(_Activation(activation.phi, activation.derivative))
            else:
                return None
        tied = len(list(module.parameters())) != len(list(module.named_parameters(remove_duplicate=False)))
        return None if tied or not any(isinstance(s, _Linear) for s in steps) else cls(steps)

    def forward(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Outputs ``(nets, batch, k)`` for inputs ``(nets, batch, ...)``."""
        return self._trace(params, x)[-1]

    def gradients(self, params: Mapping[str, Tensor], x: Tensor, y: Tensor, objective: Objective) -> dict[str, Tensor]:
        """Gradient of each network's mean loss, name -> ``(nets, *shape)``."""
        trace = self._trace(params, x)
        delta = objective.output_gradient(trace[-1], y)
        first = next(i for i, step in enumerate(self._steps) if isinstance(step, _Linear))
        grads: dict[str, Tensor] = {}
        for i in range(len(self._steps) - 1, first - 1, -1):
            step, entering = self._steps[i], trace[i]
            if isinstance(step, _Activation):
                delta = delta.mul_(step.derivative(entering))
                continue
            grads[step.weight] = torch.bmm(delta.mT, entering)
            if step.bias is not None:
                grads[step.bias] = delta.sum(1)
            if i > first:
                delta = torch.bmm(delta, params[step.weight])
        return grads

    def _trace(self, params: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """What enters each step, and the output."""
        trace = [x.flatten(2)]
        for step in self._steps:
            entering = trace[-1]
            if isinstance(step, _Activation):
                trace.append(step.phi(entering))
            elif step.bias is None:
                trace.append(torch.bmm(entering, params[step.weight].mT))
            else:
                trace.append(torch.baddbmm(params[step.bias].unsqueeze(1), entering, params[step.weight].mT))
        return trace
