"""The public functions: arguments checked, way chosen, kernel worked out in blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from widthwise._memory import check_room, keep_freed
from widthwise.errors import InputError, check_choice, check_integer
from widthwise.kernels.empirical.blocks import in_blocks, rows_within
from widthwise.kernels.empirical.choose import METHODS, choose
from widthwise.kernels.empirical.factors import inner, mirrored
from widthwise.kernels.empirical.subject import check_examples, subject_of
from widthwise.masks import Mask

__all__ = ["OUTPUTS", "empirical_nngp", "empirical_ntk"]

OUTPUTS = ("mean", "full")


@torch.inference_mode(False)
def empirical_ntk(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    train: str = "all",
    outputs: str = "mean",
    mask: Mask | None = None,
    method: str = "auto",
    memory: int = 2**30,
) -> Tensor:
    r"""The neural tangent kernel of a module as it is.

    .. math:: \Theta_{oo'}(x, x') = \sum_\theta \partial_\theta f_o(x) \; \partial_\theta f_{o'}(x')

    over the parameters that require gradients. Weights that a mask removes are not trained and do not count.

    Args:
        model: any module from one tensor ``(n, ...)`` to one of shape ``(n,)`` or ``(n, ...)``, in which examples do
            not meet.
        x1: examples ``(n1, ...)``.
        x2: examples ``(n2, ...)``; ``x1`` if omitted, and the result is then exactly symmetric.
        train: which layers count: ``"all"``, or the ``"first"`` or ``"last"`` that has weights, in order of their use;
            a layer is a module that owns weights.
        outputs: ``"mean"`` over outputs, the scalar kernel that wide networks share, or ``"full"``, every pair.
        mask: the weights that count; by default the mask in force on the model.
        method: ``"jacobian"`` contraction, NTK-vector ``"products"``, the structured form of ``"layers"``, or
            ``"auto"``, the cheapest of them, tried on a few rows where counting operations does not decide it.
        memory: bytes to take beside the result, about; a smaller number means more, smaller blocks.

    Returns:
        ``(n1, n2)``, or ``(n1, n2, k, k)`` for ``"full"`` and k outputs, detached.

    Raises:
        InputTypeError: if an argument has the wrong type, or the data another dtype than the model.
        InputError: if the data are empty or not finite, no parameter counts, an example's output depends on chance or
            on other examples, one module owns the weights of the first or last layer and of others, or the result
            is larger than memory.

    Example:
        A linear model has the kernel ``x . x'``, and one more for the bias:

        >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> empirical_ntk(nn.Linear(2, 5), x)
        tensor([[ 6., 12.],
                [12., 26.]])
    """
    check_choice("outputs", outputs, OUTPUTS)
    check_choice("method", method, METHODS)
    check_integer("memory", memory, 1)
    keep_freed()
    subject = subject_of(model, x1, train, mask)
    if x2 is not None:
        _check_second(x1, check_examples("x2", x2, subject.model))
    full = outputs == "full"
    dtype = next(iter(subject.params.values())).dtype
    _check_room(x1, x2, subject.outputs if full else 1, dtype)
    chosen = choose(subject, method, x1, x2, full)
    rows = rows_within(chosen, memory, full, dtype.itemsize)
    kernel = in_blocks(chosen, x1, x2, full, rows).detach()
    return kernel if full else kernel.div_(subject.outputs)


def empirical_nngp(model: nn.Module, x1: Tensor, x2: Tensor | None = None) -> Tensor:
    """The Gaussian-process kernel of a module as it is: the product of its outputs, averaged over outputs.

    The mean over random initialisations is the covariance of the prior, the NNGP kernel in the limit of width. Many
    outputs or many networks make a good estimate. The kernel of the last layer's features, which the paper on wider
    nets calls the GP kernel, is ``empirical_ntk(model, x1, x2, train="last")``.

    Args:
        model: any module from one tensor ``(n, ...)`` to one of shape ``(n,)`` or ``(n, ...)``.
        x1: examples ``(n1, ...)``.
        x2: examples ``(n2, ...)``; ``x1`` if omitted.

    Returns:
        ``(n1, n2)``, detached.

    Raises:
        InputTypeError: if an argument has the wrong type, or the data another dtype than the model.
        InputError: as :func:`empirical_ntk`.

    Example:
        >>> empirical_nngp(nn.Identity(), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[ 2.5000,  5.5000],
                [ 5.5000, 12.5000]])
    """
    subject = subject_of(model, x1, "all", None, needs_parameters=False)
    if x2 is not None:
        _check_second(x1, check_examples("x2", x2, subject.model))
    with torch.no_grad():
        first = subject.model(x1).flatten(1) if subject.outputs > 1 else subject.model(x1).view(len(x1), 1)
        second = first if x2 is None else subject.model(x2).reshape(len(x2), -1)
    _check_room(x1, x2, 1, first.dtype)
    kernel = inner(first, second).div_(first.shape[1])
    return mirrored(kernel) if x2 is None else kernel


def _check_second(x1: Tensor, x2: Tensor) -> None:
    if x1.shape[1:] != x2.shape[1:] or x1.dtype != x2.dtype:
        got = f"{x2.dtype} examples of shape {tuple(x2.shape[1:])}"
        raise InputError(f"x2: got {got}, allowed are those of x1, {x1.dtype} of shape {tuple(x1.shape[1:])}")


def _check_room(x1: Tensor, x2: Tensor | None, k: int, dtype: torch.dtype) -> None:
    """Refuse a result larger than what is free."""
    need = len(x1) * len(x1 if x2 is None else x2) * k * k * dtype.itemsize
    instead = "are fewer rows, or rows of it at a time, x1 in parts" + (", or outputs='mean'" if k > 1 else "")
    check_room("x1: the kernel", need, instead, x1.device)
