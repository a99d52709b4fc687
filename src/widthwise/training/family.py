"""Many networks of one shape as one computation.

A family stacks the parameters of its networks along a new first axis. Chains of linear layers and activations
run as batched matrix products with a hand-written backward pass; any other module runs under
under ``torch.func.vmap``; one that cannot be vectorised runs a network at a time, to the same result.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from widthwise.errors import InputError
from widthwise.training.chain import Chain
from widthwise.training.objective import Objective

__all__ = ["Family"]


class _Engine(Protocol):
    name: str

    def forward(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor: ...

    def gradients(
        self, params: Mapping[str, Tensor], x: Tensor, y: Tensor, objective: Objective
    ) -> dict[str, Tensor]: ...


class Family:
    """Networks of equal shape, their parameters stacked, their pruned weights held at zero.

    Args:
        models: modules of one architecture; they are copied, not changed.
        pruned: for each network the weights that stay zero, as a mapping from parameter name to a boolean
            tensor of the parameter's shape (``True`` = pruned); ``None`` for a dense network.

    Attributes:
        params: parameter name -> ``(nets, *shape)``.

    Raises:
        InputError: if there is no network, or their shapes differ.
    """

    def __init__(
        self, models: Sequence[nn.Module], pruned: Sequence[Mapping[str, Tensor] | None] | None = None
    ) -> None:
        if not models:
            raise InputError("models: got an empty sequence, allowed is at least one network")
        shapes = [{k: tuple(v.shape) for k, v in m.state_dict().items()} for m in models]
        if any(s != shapes[0] for s in shapes):
            raise InputError("models: got networks of different shapes, allowed are networks of one shape")
        params, self.buffers = stack_module_state(list(models))
        self.params = {name: p.detach().clone() for name, p in params.items()}
        self.template = copy.deepcopy(models[0])
        self._alive = _stack_alive(self.params, pruned or [None] * len(models))
        self._engine: _Engine = Chain.of(self.template) or _Autograd(self.template, self.buffers)
        self._hold()

    def __len__(self) -> int:
        return int(next(iter(self.params.values())).shape[0])

    @property
    def engine(self) -> str:
        """How the family runs: ``"chain"``, ``"vmap"`` or ``"loop"``."""
        return self._engine.name

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(nets, batch, k)`` for inputs ``(nets, batch, ...)``, in evaluation mode, detached."""
        self.template.eval()
        with torch.no_grad():
            return self._engine.forward(self.params, x)

    def gradients(self, x: Tensor, y: Tensor, objective: Objective) -> dict[str, Tensor]:
        """Gradient of each network's mean loss, name -> ``(nets, *shape)``; zero at pruned weights.

        Args:
            x: inputs of every network, ``(nets, batch, ...)``.
            y: their targets, ``(nets, batch)`` or ``(nets, batch, k)``.
            objective: what is minimised.
        """
        self.template.train()
        grads = self._engine.gradients(self.params, x, y, objective)
        for name, alive in self._alive.items():
            grads[name].mul_(alive)
        return grads

    def lost(self) -> Tensor:
        """Which networks hold NaN or infinity, ``(nets,)``."""
        return ~torch.stack([p.flatten(1).isfinite().all(1) for p in self.params.values()]).all(0)

    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers of all networks, stacked; shares memory with the family."""
        return {**self.params, **self.buffers}

    def to(self, device: torch.device | str) -> Family:
        """Move all networks to a device."""
        self.template.to(device)
        for tensors in (self.params, self.buffers, self._alive):
            tensors.update({name: t.to(device) for name, t in tensors.items()})
        return self

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Copy a state that :meth:`state` gave into this family."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        self._hold()

    def model(self, index: int) -> nn.Module:
        """A copy of one network as a module of its own."""
        model = copy.deepcopy(self.template)
        model.load_state_dict({name: t[index] for name, t in self.state().items()}, strict=False)
        return model.eval()

    def _hold(self) -> None:
        for name, alive in self._alive.items():
            self.params[name].masked_fill_(alive == 0, 0.0)


def _stack_alive(params: Mapping[str, Tensor], pruned: Sequence[Mapping[str, Tensor] | None]) -> dict[str, Tensor]:
    """Float masks (1 = lives) of every parameter that some network prunes, stacked."""
    names = {name for masks in pruned if masks for name in masks}
    return {
        name: torch.stack(
            [
                torch.ones_like(params[name][i])
                if masks is None or name not in masks
                else (~masks[name].to(params[name].device)).to(params[name].dtype)
                for i, masks in enumerate(pruned)
            ]
        )
        for name in sorted(names)
    }


class _Autograd:
    """Any module: reverse mode through ``vmap``, or through a loop where ``vmap`` cannot follow it."""

    name = "vmap"

    def __init__(self, template: nn.Module, buffers: dict[str, Tensor]) -> None:
        self._template = template
        self._buffers = buffers
        self._together = vmap(self._one, randomness="different")

    def forward(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        if self.name == "loop":
            return self._one_by_one(params, x)
        kept = {name: b.clone() for name, b in self._buffers.items()}
        try:
            output: Tensor = self._together(params, self._buffers, x)
            return output
        except (RuntimeError, NotImplementedError, ValueError):
            for name, buffer in self._buffers.items():
                buffer.copy_(kept[name])
            self.name = "loop"
            return self._one_by_one(params, x)

    def gradients(self, params: Mapping[str, Tensor], x: Tensor, y: Tensor, objective: Objective) -> dict[str, Tensor]:
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        total = objective.losses(self.forward(leaves, x), y).sum()
        grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(leaves.items(), grads, strict=True)}

    def _one(self, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(self._template, (dict(params), dict(buffers)), (x,))
        return output

    def _one_by_one(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        def pick(tensors: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
            return {name: t[i] for name, t in tensors.items()}

        return torch.stack([self._one(pick(params, i), pick(self._buffers, i), x[i]) for i in range(len(x))])
