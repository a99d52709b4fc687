"""A module as a function of its parameters, at rest."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from widthwise.errors import InputError, InputTypeError, check_type, outlined
from widthwise.masks import Mask
from widthwise.weights import unwrapped

__all__ = ["Frozen", "flat_name"]


class Frozen(nn.Module):
    """A copy of a module in evaluation mode, whose parameters never move.

    Args:
        model: any module with a parameter that requires gradients; of a wrapped one the module inside.

    Attributes:
        model: the copy.
        trained: names of the parameters that required gradients.

    Raises:
        InputTypeError: if ``model`` is no module.
        InputError: if none of its parameters requires gradients.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model = unwrapped(check_type("model", model, nn.Module))
        self.trained = [name for name, p in model.named_parameters() if p.requires_grad]
        if not self.trained:
            raise InputError("model: none of its parameters requires gradients, allowed is at least one that does")
        self.model = copy.deepcopy(model).requires_grad_(False)
        mask = Mask.of(model)
        live = {} if mask is None else {part.name: mask[part.name] for part in mask.layers() if part.connectivity < 1}
        self._masked = set(live)
        for name, keep in live.items():
            self.register_buffer(_live_name(name), keep.to(self.model.get_parameter(name).device), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode: the function that is expanded must not depend on the batch, nor change."""
        super().train(False)
        return self

    def origin(self) -> dict[str, Tensor]:
        """The parameters that required gradients, by name."""
        return {name: self.model.get_parameter(name) for name in self.trained}

    def displaced(self, displacement: nn.ParameterDict) -> dict[str, Tensor]:
        """The displacement by name, zero where the mask in force on the module removes a weight: those do not train."""
        moved = {name: displacement[flat_name(name)] for name in self.trained}
        return {n: d * self.get_buffer(_live_name(n)) if n in self._masked else d for n, d in moved.items()}

    def at(self, params: dict[str, Tensor], x: Tensor) -> Tensor:
        """The output where the parameters are ``params``."""
        out = functional_call(self.model, params, (x,))
        if not isinstance(out, Tensor):
            raise InputTypeError(f"model: its output is {type(out).__name__}, allowed is one tensor")
        return out

    def failure(self, x: Any) -> str:
        """What to say where the module fails on ``x``."""
        kinds = " and ".join(sorted({str(p.dtype) for p in self.model.parameters()}))
        return f"model: fails on x, {outlined(x)}, its weights being {kinds}"

    def forward(self, x: Tensor) -> Tensor:
        """The output of the module as it was."""
        with torch.no_grad():
            out: Tensor = self.model(x)
        return out


def _live_name(name: str) -> str:
    return f"live/{flat_name(name)}"


def flat_name(name: str) -> str:
    """A parameter's name as a key that ``nn.ParameterDict`` takes."""
    return name.replace(".", "/")
