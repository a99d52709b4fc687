"""Transfer: the outputs of the most important nodes as features, and small heads trained on them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.errors import InputError, check_finite, check_integer, check_number, check_type
from widthwise.models.mlp import mlp
from widthwise.models.node_scaled import Shallow
from widthwise.nodes.groups import SHALLOW, group_of
from widthwise.nodes.importance import most_important, node_outputs
from widthwise.training import Family, objective_for

__all__ = ["NodeFeatures", "train_heads", "transfer"]


class NodeFeatures(nn.Module):
    """The hidden outputs of some nodes of a trained model, frozen; those of channels averaged over positions.

    For a shallow network these are phi(Z_j), without the scaling.

    Args:
        model: a shallow network or a model in which :func:`~widthwise.nodes.node_groups` finds nodes; it is copied.
        scores: importances, ``(nodes,)``, of the nodes of one group.
        k: how many of them; the most important come first.
        group: the group's name.

    Raises:
        InputError: for a ``k`` out of range, or scores that do not fit the group.

    Example:
        >>> from widthwise.models import node_scaled
        >>> from widthwise.nodes import importance
        >>> model = node_scaled(3, width=50)
        >>> NodeFeatures(model, importance(model)["nodes"], k=5)(torch.ones(2, 3)).shape
        torch.Size([2, 5])
    """

    chosen: Tensor

    def __init__(self, model: nn.Module, scores: Tensor, k: int, group: str = SHALLOW) -> None:
        super().__init__()
        self.model = copy.deepcopy(check_type("model", model, nn.Module)).eval().requires_grad_(False)
        shallow = isinstance(model, Shallow)
        count = len(model.lam) if isinstance(model, Shallow) else group_of(model, group).count
        if scores.shape != (count,):
            raise InputError(f"scores: got shape {tuple(scores.shape)}, allowed is ({count},), one for each node")
        self._group = None if shallow else group_of(model, group)
        self.register_buffer("chosen", most_important(scores, k))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Map examples ``(n, ...)`` to ``(n, k)``."""
        if isinstance(self.model, Shallow):
            return self.model.features(x)[:, self.chosen]
        assert self._group is not None
        outputs = node_outputs(self.model, self._group, x).index_select(1, self.chosen)
        return outputs.flatten(2).mean(2) if outputs.dim() > 2 else outputs


def train_heads(
    features: Sequence[Tensor],
    y: Sequence[Tensor],
    *,
    task: str = "regression",
    outputs: int | None = None,
    width: int = 64,
    depth: int = 1,
    steps: int = 5000,
    lr: float = 1.0,
    seed: int = 0,
) -> list[nn.Module]:
    """Train a perceptron on each set of features by full-batch gradient descent, all in one computation.

    Args:
        features: one ``(n, k)`` a head; all of one n, each of a k of its own.
        y: targets for each: ``(n, outputs)`` values, or ``(n,)`` classes.
        task: ``"regression"`` (mean squared error) or ``"classification"`` (cross-entropy).
        outputs: number of outputs; if omitted, taken from ``y``.
        width: hidden units.
        depth: hidden layers: the paper's text has one at ``lr`` 1.0, its published regression code two at 0.1.
        steps: of gradient descent.
        lr: their size.
        seed: head i is initialised from ``seed + i``.

    Returns:
        The heads, ``mlp``s in evaluation mode.

    Raises:
        InputError: for shapes or numbers that are not allowed, or if a head diverges.
    """
    objective = objective_for(task)
    check_number("lr", lr, 0, low_open=True)
    check_integer("steps", steps, 1)
    if not features or len(features) != len(y):
        raise InputError(f"features: got {len(features)} for {len(y)} targets, allowed is one for each, at least one")
    if any(f.dim() != 2 or len(f) != len(features[0]) or len(t) != len(f) for f, t in zip(features, y, strict=True)):
        raise InputError("features: got different shapes, allowed is (n, k) with one n for all, and n targets")
    most = max(f.shape[1] for f in features)
    x = torch.stack([functional.pad(check_finite("features", f), (0, most - f.shape[1])) for f in features])
    target = torch.stack(list(y))
    if outputs is None:
        outputs = target.shape[2] if task == "regression" else int(target.max()) + 1
    heads = []
    for i, each in enumerate(features):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + i)
            heads.append(_widened(mlp(each.shape[1], outputs, width=width, depth=depth), most).to(x.device, x.dtype))
    family = Family(heads)
    for _ in range(steps):
        grads = family.gradients(x, target, objective)
        for name, weight in family.params.items():
            weight.sub_(grads[name], alpha=lr)
    if not all(bool(weight.isfinite().all()) for weight in family.params.values()):
        raise InputError(f"lr: got {lr:g}, with which a head diverges; allowed is a smaller step")
    return [_widened(family.model(i), each.shape[1]) for i, each in enumerate(features)]


def _widened(head: nn.Module, inputs: int) -> nn.Module:
    """The head with so many inputs: more of them with weights of zero, which features of zero leave there, or fewer."""
    first = head.get_submodule("hidden1")
    assert isinstance(first, nn.Linear)
    weight = functional.pad(first.weight.detach(), (0, inputs - first.in_features))
    first.weight, first.in_features = nn.Parameter(weight.contiguous()), inputs
    return head


def transfer(
    model: nn.Module,
    scores: Tensor,
    k: int,
    X: Tensor,
    y: Tensor,
    *,
    group: str = SHALLOW,
    task: str = "regression",
    width: int = 64,
    depth: int = 1,
    steps: int = 5000,
    lr: float = 1.0,
    seed: int = 0,
) -> nn.Sequential:
    """Put a trained head on the ``k`` most important nodes of a model.

    Arguments as in :class:`NodeFeatures` and :func:`train_heads`, with one data set ``X``, ``y``.

    Returns:
        The features and the head, one after the other.
    """
    features = NodeFeatures(model, scores, k, group)
    heads = train_heads([features(X)], [y], task=task, width=width, depth=depth, steps=steps, lr=lr, seed=seed)
    return nn.Sequential(features, heads[0]).eval()
