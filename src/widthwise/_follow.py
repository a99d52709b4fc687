"""Follow the forward pass of a network symbolically."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx, nn
from torch.nn.modules import conv

from widthwise.errors import InputError

__all__ = ["follow"]

_WEIGHTED = (nn.Linear, nn.Bilinear, conv._ConvNd, nn.MultiheadAttention)


class _UntraceableError(Exception):
    """Carries the name of the innermost module that cannot be traced."""


class _Tracer(fx.Tracer):
    """Treats the modules of torch and those named as units."""

    def __init__(self, units: Iterable[str]) -> None:
        super().__init__()
        self._units = set(units)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self._units or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except _UntraceableError:
            raise
        except Exception as error:  # anything may happen when a user's code meets a symbol
            raise _UntraceableError(self.path_of_module(m)) from error


def follow(model: nn.Module) -> fx.Graph:
    """The graph of the forward pass, with modules that cannot be traced as units.

    Raises:
        InputError: if the model itself, or a unit with weights of its own, cannot be traced.
    """
    units: set[str] = set()
    while True:
        try:
            with _evaluating(model):
                graph = _Tracer(units).trace(model)
            break
        except _UntraceableError as error:
            if str(error) in units:
                raise InputError(_opaque(repr(str(error)), error)) from error
            units.add(str(error))
        except Exception as error:
            raise InputError(_opaque("the model itself", error)) from error
    for name in sorted(units):
        if any(isinstance(module, _WEIGHTED) for module in model.get_submodule(name).modules()):
            raise InputError(_opaque(repr(name)))
    return graph


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while: stochastic depth and the like are out of the way."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


def _opaque(what: str, error: Exception | None = None) -> str:
    because = f" ({error})" if error else ""
    return (
        f"model: cannot follow the forward pass of {what}{because}; pass branches, one module for each residual block"
    )
