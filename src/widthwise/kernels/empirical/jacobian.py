"""Jacobian contraction: the gradient of every output of every example, for any module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from widthwise.kernels.empirical.factors import Factor, Gradients, contract
from widthwise.kernels.empirical.subject import Subject

__all__ = ["JacobianContraction", "outputs_of"]

Params = dict[str, Tensor]


class JacobianContraction:
    """Gradients of all outputs, contracted over the weights.

    Args:
        subject: the network.
    """

    name: ClassVar[str] = "jacobian"

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._follow = True  # until torch.func cannot follow the model

    @property
    def row_size(self) -> int:
        """Numbers held for an example."""
        subject = self.subject
        return 2 * subject.outputs * sum(p.numel() for p in subject.params.values())

    def prepare(self, x: Tensor) -> list[Factor]:
        """The gradients of a block of examples."""
        rows = self._gradients(x)
        return [Gradients(_select(rows[name], self.subject, name)) for name in self.subject.params]

    def kernel(self, first: list[Factor], second: list[Factor], full: bool) -> Tensor:
        """The kernel of two blocks."""
        return contract(first, second, full)

    def _gradients(self, x: Tensor) -> Params:
        if self._follow:
            try:
                return self._vectorised(x)
            except RuntimeError:  # an operation that cannot be batched, or steps that depend on the values
                self._follow = False
        return self._one_by_one(x)

    def _vectorised(self, x: Tensor) -> Params:
        outputs = outputs_of(self.subject)
        params = {name: p.detach() for name, p in self.subject.params.items()}
        with warnings.catch_warnings():  # of operations that PyTorch batches one by one
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            rows: Params = vmap(jacrev(lambda p, one: outputs(p, one[None])[0]), (None, 0))(params, x)
        return rows

    def _one_by_one(self, x: Tensor) -> Params:
        params = self.subject.params
        rows: dict[str, list[Tensor]] = {name: [] for name in params}
        for i in range(len(x)):
            with torch.enable_grad():
                out = self.subject.model(x[i : i + 1]).flatten()
            for value in out:
                grads = torch.autograd.grad(
                    value, list(params.values()), retain_graph=True, allow_unused=True, materialize_grads=True
                )
                for name, grad in zip(params, grads, strict=True):
                    rows[name].append(grad)
        return {
            name: torch.stack(grads).view(len(x), self.subject.outputs, *params[name].shape)
            for name, grads in rows.items()
        }


def outputs_of(subject: Subject) -> Callable[[Params, Tensor], Tensor]:
    """The model as a function of the parameters that count and of a batch, its outputs ``(b, k)``."""
    everything: dict[str, Any] = {**dict(subject.model.named_parameters()), **dict(subject.model.named_buffers())}
    fixed = {name: t.detach() for name, t in everything.items() if name not in subject.params}

    def outputs(params: Params, x: Tensor) -> Tensor:
        out: Tensor = functional_call(subject.model, {**fixed, **params}, (x,))
        return out.reshape(len(x), -1)

    return outputs


def _select(rows: Tensor, subject: Subject, name: str) -> Tensor:
    """``(b, k, weights that live)``."""
    flat = rows.detach().reshape(*rows.shape[:2], -1)
    return flat[:, :, subject.live[name]] if name in subject.live else flat
