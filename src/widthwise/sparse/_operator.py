"""Functions that autograd, ``torch.compile`` and ``torch.export`` know, called without the price PyTorch has on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from widthwise.errors import InputError

__all__ = ["operator", "traceable"]

_transforming = torch._C._are_functorch_transforms_active  # what autograd.Function.apply itself asks

Keep = Callable[[Any, tuple[Any, ...], Any], None]


def traceable(name: str, function: Callable[..., Any], *, fake: Callable[..., Any]) -> Callable[..., Any]:
    """Register ``function`` of tensors as ``name``; what to call, which goes by that name where symbols may come."""
    registered = torch.library.custom_op(name, function, mutates_args=())
    registered.register_fake(fake)

    def call(x: Tensor, *others: Any) -> Any:
        is_traced = torch.compiler.is_compiling() or _transforming() or type(x) is not Tensor
        return (registered if is_traced else function)(x, *others)

    return call


def operator(
    name: str, function: Callable[..., Any], *, fake: Callable[..., Any], keep: Keep, differentiate: Callable[..., Any]
) -> tuple[Any, Callable[..., Any]]:
    """Register ``function`` with PyTorch as ``name``.

    Args:
        name: ``"widthwise::..."``.
        function: annotated, of tensors first; what it computes.
        fake: the same of tensors without memory.
        keep: what the backward pass needs, as ``setup_context`` of :class:`torch.autograd.Function`.
        differentiate: the backward pass, once.

    Returns:
        The registered operator; and a function for all to call, which takes the way around it, three times as fast,
        where nobody traces.
    """
    registered = torch.library.custom_op(name, function, mutates_args=())
    registered.register_fake(fake)
    registered.register_autograd(differentiate, setup_context=keep)

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = function(*inputs)
        keep(ctx, inputs, output)
        return output

    # PyTorch works out the signature of `forward` at every call if there is a `setup_context`; torch.func wants one
    title = name.rpartition(":")[2]
    backward = staticmethod(_once(title, differentiate))
    eager = _function(title, forward=staticmethod(forward), backward=backward)
    transformed = _function(title, forward=staticmethod(function), setup_context=staticmethod(keep), backward=backward)

    def call(x: Tensor, *others: Any) -> Any:
        learns = torch.is_grad_enabled()
        if torch.compiler.is_compiling() or type(x) is not Tensor or (_transforming() and not learns):
            return registered(x, *others)
        if not learns:
            return function(x, *others)
        return (transformed if _transforming() else eager).apply(x, *others)

    return registered, call


class _Final(torch.autograd.Function):
    """A gradient as it is, which refuses to be differentiated in what it was made from."""

    generate_vmap_rule = True  # for torch.func.jacrev

    @staticmethod
    def forward(title: str, gradient: Tensor, *sources: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.title = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise InputError(
            f"model: got a second derivative of its sparse layers ({ctx.title}) to take, allowed are first ones; take "
            "it of the dense model, widthwise.densify(model)"
        )


def _once(title: str, differentiate: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass whose results refuse to be differentiated.

    Those of :func:`torch.autograd.function.once_differentiable` pass for constants where the gradient that comes in is
    one, as after a sum: a penalty on them would go without its own gradient.
    """

    def backward(ctx: Any, *grads: Tensor) -> Any:
        with torch.no_grad():
            found = differentiate(ctx, *grads)
        if not torch.is_grad_enabled():
            return found
        sources = [source for source in (*grads, *ctx.saved_tensors) if source is not None]
        final: Callable[..., Any] = _Final.apply
        if not isinstance(found, tuple):
            return final(title, found, *sources)
        return tuple(None if part is None else final(title, part, *sources) for part in found)

    return backward


def _function(name: str, **methods: Any) -> Any:
    return type(name, (torch.autograd.Function,), methods)
