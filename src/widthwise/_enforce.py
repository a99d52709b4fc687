"""Keep pruned weights exactly zero, whatever moves them.

Weights stay plain parameters. A :class:`Keeper` sits beside each masked module as one of its
``load_state_dict`` post-hooks: torch carries those through ``deepcopy`` and pickling, calls them after every
loading of weights, and never looks at them in a forward or backward pass. One hook, common to all optimizers,
zeroes the pruned entries of the parameters that the optimizer has just moved.

Entries are cleared by ``AND`` with a mask of bits, as wide as the weights. That is one pass over the memory,
an order of magnitude faster than ``masked_fill_`` or a product with booleans, and it turns NaN, infinity and
-0.0 into 0.0 too, which a product does not.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from widthwise.errors import InputError

__all__ = ["Keeper"]

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_KEY = -1  # among a module's hooks; the keys that torch deals out are never negative
_live: weakref.WeakValueDictionary[int, Keeper] = weakref.WeakValueDictionary()


class Keeper:
    """Zeroes the pruned entries of one module's own parameters.

    It finds the parameters by their names in the module, so replacing a parameter, moving it to another
    device or changing its dtype does not lose the mask.

    Args:
        module: owner of the parameters; only weakly referenced.
        masks: for each local parameter name, a tensor of its shape that is non-zero where a weight lives.
    """

    def __init__(self, module: nn.Module, masks: Mapping[str, Tensor]) -> None:
        self._module = weakref.ref(module)
        self._bits = {name: -(mask != 0).to(torch.int8) for name, mask in masks.items()}
        _live[id(self)] = self
        _listen_to_optimizers()

    @staticmethod
    def of(module: nn.Module) -> Keeper | None:
        """The keeper beside ``module`` itself, not of its children."""
        found = module._load_state_dict_post_hooks.get(_KEY)
        return found if isinstance(found, Keeper) else None

    @staticmethod
    def detach(module: nn.Module) -> None:
        """Take away the keeper beside ``module``, if there is one."""
        keeper = module._load_state_dict_post_hooks.pop(_KEY, None)
        _live.pop(id(keeper), None)

    def attach(self) -> None:
        """Sit beside the module and zero what is pruned, instead of the keeper that may be there."""
        module = self._owner()
        Keeper.detach(module)
        module._load_state_dict_post_hooks[_KEY] = self
        self.enforce()

    def masks(self) -> dict[str, Tensor]:
        """The boolean masks by local parameter name."""
        return {name: bits != 0 for name, bits in self._bits.items()}

    def enforce(self, among: Collection[int] | None = None) -> None:
        """Zero the pruned entries; with ``among``, only of the parameters whose ``id`` it holds."""
        module = self._module()
        parameters = {} if module is None else module._parameters
        for name in self._bits:
            parameter = parameters.get(name)
            if parameter is not None and not parameter.is_meta and (among is None or id(parameter) in among):
                _clear(parameter, self._bits_for(name, parameter))

    def _bits_for(self, name: str, parameter: Tensor) -> Tensor:
        """The mask of ``name`` in the width, on the device and in the memory layout of ``parameter``."""
        bits = self._bits[name]
        if bits.shape != parameter.shape:
            raise InputError(
                f"mask: covers {type(self._owner()).__name__}.{name} of shape {tuple(bits.shape)}, got one of"
                f" shape {tuple(parameter.shape)}; call Mask.remove(model) before changing shapes"
            )
        dtype = _BITS[parameter.element_size() // (2 if parameter.is_complex() else 1)]
        if bits.dtype != dtype or bits.device != parameter.device:
            bits = self._bits[name] = torch.empty_like(parameter, dtype=dtype).copy_(bits)
        return bits

    def _owner(self) -> nn.Module:
        module = self._module()
        if module is None:
            raise InputError("mask: the module it covers no longer exists")
        return module

    def __call__(self, module: nn.Module, incompatible_keys: Any) -> None:
        """What torch calls after ``load_state_dict``."""
        self.enforce()

    def __deepcopy__(self, memo: dict[int, Any]) -> Keeper:
        return Keeper(copy.deepcopy(self._owner(), memo), self._bits)

    def __reduce__(self) -> tuple[type[Keeper], tuple[nn.Module, dict[str, Tensor]]]:
        return Keeper, (self._owner(), self.masks())


def _clear(parameter: Tensor, bits: Tensor) -> None:
    raw = parameter.detach()
    if raw.is_complex():
        raw, bits = torch.view_as_real(raw), bits.unsqueeze(-1)
    raw.view(bits.dtype).bitwise_and_(bits)


@cache
def _listen_to_optimizers() -> None:
    register_optimizer_step_post_hook(_after_step)


def _after_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for reference in _live.valuerefs():
        keeper = reference()
        if keeper is not None:
            keeper.enforce(moved)
