"""One masked network trained by PyTorch, for what the native kernels do not take; otherwise like a family of one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise._finite import first_not_finite
from widthwise.errors import InputError
from widthwise.training.sparse_family import Rule

__all__ = ["MaskedNet"]


class MaskedNet:
    """A network and its optimizer, with the methods of :class:`~widthwise.training.sparse_family.SparseFamily`.

    Args:
        model: any module; it is trained in place.
        pruned: the weights that stay zero, ``True`` where they do, by parameter name.
    """

    def __init__(self, model: nn.Module, pruned: Mapping[str, Tensor]) -> None:
        self._model, self._pruned = model, dict(pruned)
        self._optimizer: torch.optim.Optimizer | None = None

    @property
    def theta(self) -> Tensor:
        """All parameters in one line, a copy."""
        return nn.utils.parameters_to_vector(self._model.parameters()).detach()

    def load(self, theta: Tensor) -> None:
        """Take over parameters that :attr:`theta` gave."""
        nn.utils.vector_to_parameters(theta, self._model.parameters())

    def prepared(self, x: Tensor) -> Tensor:
        """Examples as the other methods read them."""
        return x.to(next(self._model.parameters()).dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``(1, n, outputs)``."""
        with torch.no_grad():
            outputs: Tensor = self._model(x)
        return outputs[None]

    def descend(
        self, x: Tensor, y: Tensor, rates: Tensor, rule: Rule, *, weights: Tensor, moments: Tensor, done: int
    ) -> None:
        """Some steps; the optimizer keeps its moments itself.

        Raises:
            InputError: if a loss is NaN or infinite; the message names the step and the first layer to make it.
        """
        if self._optimizer is None:
            betas = (rule.momentum, rule.second)
            self._optimizer = torch.optim.AdamW(self._model.parameters(), betas=betas, weight_decay=rule.weight_decay)
        for group in self._optimizer.param_groups:
            group["lr"] = float(rates)
        for number, (part, target, weight) in enumerate(zip(x, y, weights, strict=True), done + 1):
            self._optimizer.zero_grad()
            loss = (_losses(self._model(part), target) * weight).mean()
            if not loss.isfinite():
                said = first_not_finite(self._model, part) or "the loss is the first to be so"
                raise InputError(f"learning_rate: got {float(rates):g}, but training diverged in step {number}: {said}")
            loss.backward()
            for name, dead in self._pruned.items():
                gradient = self._model.get_parameter(name).grad
                if gradient is not None:
                    gradient[dead] = 0
            self._optimizer.step()

    def model(self, index: int) -> nn.Module:
        """The network."""
        return self._model


def _losses(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.is_floating_point():
        return (outputs - targets).square().mean(1)
    return functional.cross_entropy(outputs, targets, reduction="none")
