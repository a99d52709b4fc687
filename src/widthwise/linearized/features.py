"""The features of a linearized network as a matrix, for networks small enough."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from widthwise._memory import check_room
from widthwise.kernels.empirical.factors import Gradients
from widthwise.kernels.empirical.jacobian import JacobianContraction
from widthwise.kernels.empirical.subject import subject_of
from widthwise.masks import Mask

__all__ = ["tangent_features"]


def tangent_features(
    model: nn.Module, x: Tensor, *, train: str = "all", mask: Mask | None = None, rows: int = 64
) -> Tensor:
    """J, the derivatives of a module's outputs with respect to its parameters, for linear methods to work on.

    Section 7.2 of the paper on linearized difference networks centres and normalises them, or fits them by the lasso or
    by logistic regression. ``J J^T`` is the empirical NTK.

    Args:
        model: any module that :func:`~widthwise.kernels.empirical_ntk` takes.
        x: examples ``(n, ...)``.
        train: which layers count: ``"all"``, ``"first"`` or ``"last"``.
        mask: the weights that count; by default the mask in force on the model.
        rows: examples worked on at a time.

    Returns:
        ``(n, k, weights)`` for k outputs, parameters one after the other in the model's order, detached.

    Raises:
        InputTypeError: if an argument has the wrong type, or the data another dtype than the model.
        InputError: as for the empirical NTK, or if the features are larger than memory.

    Example:
        >>> tangent_features(nn.Linear(2, 1), torch.tensor([[3.0, 4.0]]))
        tensor([[[3., 4., 1.]]])
    """
    subject = subject_of(model, x, train, mask)
    weights = sum(subject.weights(name) for name in subject.params)
    need = len(x) * subject.outputs * weights * x.new_empty(0).element_size()
    instead = "is a smaller network, or linearize(model), which needs no features"
    check_room(f"model: what {len(x)} examples have of its features", need, instead, x.device)
    method = JacobianContraction(subject)
    parts = [method.prepare(part) for part in torch.split(x, rows)]
    return torch.cat([torch.cat([f.rows for f in part if isinstance(f, Gradients)], -1) for part in parts])
