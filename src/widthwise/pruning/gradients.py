"""Gradients for scores: over the prunable parameters only, and the model is left exactly as it was found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from widthwise._finite import first_not_finite, is_finite
from widthwise.errors import InputError, check_function, told
from widthwise.pruning.batches import Batches, Data
from widthwise.weights import prunable, unwrapped

__all__ = [
    "Loss",
    "as_found",
    "batches_for",
    "generator_from_global",
    "gradient",
    "loss_on",
    "mean_gradient",
    "mean_over",
    "output_of",
    "real",
    "trainable",
]

Loss = Callable[[Any, Any], Tensor]
_DROPOUT = (nn.modules.dropout._DropoutNd, nn.MultiheadAttention)


@contextmanager
def as_found(model: nn.Module) -> Iterator[None]:
    """A context in which ``model`` may be run, and after which it is as before.

    Training flags, buffers and the state of the random generators are put back. Inside, the model is in the mode
    it was found in, except that dropout modules are off.

    Raises:
        InputError: if a BatchNorm layer is in eval mode although it has never seen a batch.
    """
    _check_batch_norm(model)
    flags = [(module, module.training) for module in model.modules()]
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    devices = {parameter.get_device() for parameter in model.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(sorted(devices)), torch.enable_grad():
        try:
            for module, _ in flags:
                if isinstance(module, _DROPOUT):
                    module.training = False
            yield
        finally:
            for module, training in flags:
                module.training = training
            for module, name, buffer, value in buffers:
                module._buffers[name] = buffer
                with torch.no_grad():
                    buffer.copy_(value)


def real(model: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable parameters, all of which must be real numbers.

    Raises:
        InputError: if one is not; the message names it.
    """
    weights = prunable(model)
    for name, weight in weights.items():
        if weight.is_complex():
            raise InputError(f"model: {name!r} is of {weight.dtype}, allowed are real weights, or method 'magnitude'")
    return weights


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable parameters, all of which must be real numbers that take part in autograd.

    Raises:
        InputError: if one is not or does not; the message names it.
    """
    weights = real(model)
    frozen = [name for name, weight in weights.items() if not weight.requires_grad]
    if frozen:
        raise InputError(f"model: {frozen[0]!r} does not require gradients; call requires_grad_(True) on it")
    return weights


def batches_for(method: str, model: nn.Module, data: Data | None, loss: Loss | None) -> tuple[Batches, Loss]:
    """Check that a method which needs data and a loss has them.

    Raises:
        InputError: if one is missing.
        InputTypeError: if ``loss`` cannot be called.
    """
    if data is None or loss is None:
        raise InputError(f"{'data' if data is None else 'loss'}: got None, but method {method!r} needs data and a loss")
    check_function("loss", loss, "a function loss(output, y)")
    return Batches(data, next(iter(prunable(model).values())).device), loss


def generator_from_global() -> torch.Generator:
    """A generator on the CPU whose seed is drawn from torch's own."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))


def loss_on(model: nn.Module, loss: Loss, x: Tensor, y: Any, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """The loss on a batch, a finite scalar that autograd can follow; with ``weights`` in place of the model's own.

    Raises:
        InputError: if the model or the loss fails on the batch, or the loss is not a scalar, not finite, or does not
            depend on a parameter.
    """
    output = output_of(model, x, weights)
    with told(lambda: f"loss: fails on an output {_outline(output)} and a y {_outline(y)}"):
        value = loss(output, y)
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"loss: got {got}, allowed is a scalar tensor; take the mean over the batch")
    if not torch.isfinite(value):
        said = first_not_finite(model, x) or "the network's output is finite"
        raise InputError(f"loss: got {value.item()}, allowed is a finite number; {said}")
    if not value.requires_grad:
        raise InputError("loss: does not depend on the model's parameters, so there is no gradient")
    return value


def gradient(value: Tensor, weights: Mapping[str, Tensor], *, create_graph: bool = False) -> list[Tensor]:
    """The gradient of a scalar in ``weights``, in their order; ``.grad`` is not touched.

    Raises:
        InputError: if a weight has no part in ``value``, or its gradient is NaN or infinite; the message names it.
    """
    found = torch.autograd.grad(value, list(weights.values()), create_graph=create_graph, allow_unused=True)
    for name, part in zip(weights, found, strict=True):
        if part is None:
            raise InputError(f"model: {name!r} gets no gradient, the output does not depend on it; remove or use it")
    dense = [part.to_dense() if part.is_sparse else part for part in found]
    for name, part in reversed(list(zip(weights, dense, strict=True))):  # as they are made
        if not is_finite(part):
            raise InputError(f"model: {name!r} is the first to get a gradient that is NaN or infinite")
    return dense


def mean_over(batches: Batches, per_batch: Callable[[Tensor, Any], Sequence[Tensor]]) -> list[Tensor]:
    """The mean of ``per_batch(x, y)`` over batches, each weighted by its number of examples.

    One batch is in memory at a time. If ``per_batch`` is linear in a loss that is a mean over its batch, the
    result is that of all examples at once.
    """
    total: list[Tensor] = []
    examples = 0
    for x, y in batches:
        examples += len(x)
        parts = [part.detach() for part in per_batch(x, y)]
        total = total or [part.clone() for part in parts]
        for mean, part in zip(total, parts, strict=True):
            mean.lerp_(part, len(x) / examples)
    return total


def mean_gradient(model: nn.Module, batches: Batches, loss: Loss) -> dict[str, Tensor]:
    """The gradient of the loss over all batches in the prunable parameters, in constant memory.

    Raises:
        InputError: as :func:`trainable`, :func:`loss_on` and :func:`gradient`.
    """
    weights = trainable(model)
    with as_found(model):
        mean = mean_over(batches, lambda x, y: gradient(loss_on(model, loss, x, y), weights))
    return dict(zip(weights, mean, strict=True))


def output_of(model: nn.Module, x: Tensor, weights: Mapping[str, Tensor] | None = None) -> Any:
    """What the model makes of ``x``; warns if that is random.

    Raises:
        InputError: if the model fails on ``x``; the message says what it got.
    """
    before = _random_state(x)
    inner = unwrapped(model)
    with told(lambda: f"model: fails on an x {_outline(x)}, its weights being {_dtypes(inner)}"):
        output = inner(x) if weights is None else functional_call(inner, dict(weights), (x,))
    if not torch.equal(before, _random_state(x)):
        warnings.warn(
            "model: its forward pass draws random numbers, so the scores are those of one draw; if that is dropout in"
            " a function, model.eval() turns it off",
            stacklevel=2,
        )
    return output


def _outline(got: Any) -> str:
    """What was passed, in words: shape and dtype of a tensor, else the type."""
    if isinstance(got, Tensor):
        return f"of shape {tuple(got.shape)} and {got.dtype}"
    return f"of type {type(got).__name__}"


def _dtypes(model: nn.Module) -> str:
    return " and ".join(sorted({str(parameter.dtype) for parameter in model.parameters()}))


def _random_state(x: Tensor) -> Tensor:
    return torch.cuda.get_rng_state(x.device) if x.is_cuda else torch.get_rng_state()


def _check_batch_norm(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.training:
            seen = module.num_batches_tracked
            if seen is not None and not seen:
                raise InputError(
                    f"model: is in eval mode, but BatchNorm {name!r} has never seen a batch to normalise by;"
                    " call model.train()"
                )
