"""Which modules end residual branches that were scaled, remembered beside them, since the weights do not tell."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

__all__ = ["carry_scaled", "forget_scaled", "remember_scaled", "scaled_in"]

_ATTRIBUTE = "_widthwise_scaled"


def remember_scaled(model: nn.Module, names: Iterable[str]) -> None:
    """Mark modules of ``model`` by name; the mark goes along into copies and pickles."""
    for name in names:
        object.__setattr__(model.get_submodule(name), _ATTRIBUTE, True)


def scaled_in(model: nn.Module) -> list[str]:
    """The names of the modules that are marked, ``""`` for ``model`` itself."""
    return [name for name, module in model.named_modules() if _ATTRIBUTE in vars(module)]


def carry_scaled(old: nn.Module, new: nn.Module) -> None:
    """Mark the module into which the weights of a marked one went."""
    if _ATTRIBUTE in vars(old):
        remember_scaled(new, [""])


def forget_scaled(module: nn.Module) -> None:
    """Take the mark from this module, not from those inside, after its weights were drawn anew or loaded."""
    vars(module).pop(_ATTRIBUTE, None)
