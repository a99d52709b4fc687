"""Prune a network: score its weights, choose how many each layer keeps, take the best, check what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from widthwise.data.sampling import first_per_class
from widthwise.errors import InputError, InputTypeError, check_choice, check_finite, check_integer, check_type
from widthwise.masks import Mask
from widthwise.pruning.allocation import SCOPES, allocate, exponential_schedule, target_count
from widthwise.pruning.batches import Batches, Data, repeatable
from widthwise.pruning.collapse import complain, critical_sparsity, cut_at, dead_layers
from widthwise.pruning.flow import example_input
from widthwise.pruning.gradients import Loss
from widthwise.pruning.scores.registry import Method, Score, find_method
from widthwise.pruning.selection import select
from widthwise.weights import check_has_values, check_not_sparse, prunable, unwrapped

__all__ = ["prune"]


def prune(
    model: nn.Module,
    sparsity: float | None = None,
    method: str | Score = "snip",
    data: Data | None = None,
    loss: Loss | None = None,
    *,
    budget: int | None = None,
    scope: str = "global",
    rounds: int | None = None,
    examples_per_class: int | None = None,
    seed: int = 0,
    on_collapse: str = "raise",
) -> Mask:
    """Choose the weights that live by a method, and apply the mask to ``model`` in place.

    Exactly as many weights are kept as asked, ties included, and the same ones for the same seed. A model that
    already has a mask is pruned further. On an error the model is left as it was. Where ``torch.distributed`` is
    initialised, call it on every rank: all take the mask of rank 0.

    Args:
        model: any module; its prunable parameters have two or more dimensions and are neither biases nor gains
            (:func:`widthwise.prunable`). A sparse one (:func:`widthwise.sparsify`) is refused: make it dense first.
        sparsity: fraction of the prunable weights to remove, in [0, 1).
        method: name of a registered score, or a function ``(model, data, loss)`` to scores.
        data: ``(x, y)`` or a loader of such batches, where the method needs it.
        loss: ``loss(output, y)``, a mean over the batch, where the method needs it.
        budget: number of weights to keep, instead of ``sparsity``.
        scope: how the weights are shared out: ``"global"`` by score alone, ``"uniform"`` the same density in each
            layer, ``"erk"`` Erdős-Rényi-kernel densities, ``"balanced"`` the largest layers cut first.
        rounds: number of times to score and prune; the number of weights falls by the same factor each time, and
            later rounds score the network that is left. At most as many as there are prunable weights; by default as
            the method was registered.
        examples_per_class: score on that many examples of each class, the first in ``data``, as one batch.
        seed: of all that is random: scores, ties, the order of a shuffling loader.
        on_collapse: ``"raise"``, ``"warn"`` or ``"allow"`` when a layer loses all weights, or every path from
            input to output is cut. The latter is checked with an example of the data, or without data for
            models whose first layer is linear.

    Returns:
        The mask, in force on ``model``.

    Raises:
        InputError: for a value out of range, an unknown name, weights or scores that are NaN or infinite, or as the
            method; the message names the first layer that has or makes them.
        InputTypeError: for an argument of the wrong type.
        CollapseError: as ``on_collapse`` says; the message names the layer and the critical sparsity.

    >>> model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    >>> mask = prune(model, 0.7, "magnitude")
    >>> mask.kept, mask.total, int((model[0].weight != 0).sum() + (model[2].weight != 0).sum())
    (90, 300, 90)
    """
    known = find_method(method)
    check_not_sparse(check_type("model", model, nn.Module))
    total = sum(weight.numel() for weight in prunable(model).values())
    plan = _Plan(
        method=known,
        keep=target_count(total, sparsity, budget),
        asked=f"budget: got {budget}" if sparsity is None else f"sparsity: got {sparsity}",
        scope=check_choice("scope", scope, SCOPES),
        rounds=known.rounds if rounds is None else check_integer("rounds", rounds, 1, total),
        seed=check_integer("seed", seed, 0, 2**63 - 1),
        on_collapse=check_choice("on_collapse", on_collapse, ("raise", "warn", "allow")),
    )
    inner = unwrapped(model)
    check_has_values(inner)
    with _seeded(inner, plan.seed):
        data = repeatable(data) if examples_per_class is None else _pick(inner, data, examples_per_class)
        mask = _search(inner, plan, data, loss)
        _check_paths(inner, mask, data, plan)
    return mask.apply(inner)


@dataclass(frozen=True)
class _Plan:
    method: Method
    keep: int
    asked: str
    scope: str
    rounds: int
    seed: int
    on_collapse: str


def _search(model: nn.Module, plan: _Plan, data: Data | None, loss: Loss | None) -> Mask:
    """Score and prune in rounds; the model is left as it was."""
    weights = prunable(model)
    for name, weight in weights.items():
        check_finite(f"model: {name!r}", weight.detach())
    alive = Mask.of(model) or Mask.dense(model)
    if plan.keep > alive.kept:
        raise InputError(
            f"{plan.asked}, which keeps {plan.keep} weights, but the mask in force keeps {alive.kept}; allowed is to "
            "keep at most as many, or to lift it with widthwise.Mask.remove(model)"
        )
    counts = exponential_schedule(alive.kept, plan.keep, plan.rounds)
    with _restored(weights if len(counts) > 1 else {}):
        for keep in counts:
            scores = _checked(plan.method, plan.method.score(model, data, loss), weights)
            chosen = _agreed(_select(scores, alive, keep, plan))
            _check_layers(scores, alive, chosen, plan, counts)
            alive = chosen
            if keep != plan.keep:
                _zero_the_dead(weights, alive)
    return alive


def _select(scores: Mapping[str, Tensor], alive: Mask, keep: int, plan: _Plan) -> Mask:
    room = {layer.name: layer.kept for layer in alive.layers()}
    shapes = {layer.name: layer.shape for layer in alive.layers()}
    return Mask(select(scores, allocate(plan.scope, shapes, keep, room), alive=alive, seed=plan.seed))


def _check_layers(scores: Mapping[str, Tensor], before: Mask, after: Mask, plan: _Plan, counts: Sequence[int]) -> None:
    """Complain about layers that have just died, and say in which of several rounds."""
    died = [name for name in dead_layers(after) if name not in dead_layers(before)]
    if not died:
        return
    problem = f"layer {died[0]!r} keeps none of its {after[died[0]].numel()} weights at sparsity {after.sparsity:.6g}"
    if len(counts) > 1:
        asked = 1 - plan.keep / after.total
        problem += f", in round {counts.index(after.kept) + 1} of {len(counts)} on the way to {asked:.6g}"
    if len(died) > 1:
        others = [*map(repr, died[1:4]), *([f"{len(died) - 4} more"] if len(died) > 4 else [])]
        problem += f", nor do {', '.join(others)}"
    if plan.scope == "global":
        living = {name: score.masked_fill(~before[name], -torch.inf) for name, score in scores.items()}
        problem += f"; the critical sparsity of its scores is {critical_sparsity(living, seed=plan.seed):.6g}"
    complain(problem, plan.on_collapse)


def _check_paths(model: nn.Module, mask: Mask, data: Data | None, plan: _Plan) -> None:
    """Complain if no path from input to output is left; a model that the probe cannot run is let through."""
    if plan.on_collapse == "allow" or dead_layers(mask):
        return
    try:
        x = example_input(model, data)
        cut = None if x is None else cut_at(model, mask, x)
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError):
        return
    if cut is not None:
        complain(
            f"every path from input to output is cut at {cut!r}, though each layer keeps weights", plan.on_collapse
        )


def _pick(model: nn.Module, data: Data | None, count: int) -> Data:
    if data is None:
        raise InputError("data: got None, but examples_per_class picks from data")
    return first_per_class(Batches(data, next(model.parameters()).device), count)


def _checked(method: Method, scores: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The scores in the model's order, if they fit its weights."""
    if not isinstance(scores, Mapping):
        raise InputTypeError(
            f"method: {method.name!r} returned {type(scores).__name__}, allowed is a mapping to tensors"
        )
    got = {name: tuple(score.shape) if isinstance(score, Tensor) else type(score) for name, score in scores.items()}
    for name in [*weights, *got]:
        wanted = tuple(weights[name].shape) if name in weights else None
        if got.get(name) != wanted:
            raise InputError(
                f"method: {method.name!r} returned {got.get(name)} for {name!r}, allowed is {wanted}: a tensor of its"
                " shape for each prunable parameter"
            )
    return {name: scores[name].to(weight.device) for name, weight in weights.items()}


def _agreed(mask: Mask) -> Mask:
    """On every rank the mask of rank 0."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return mask
    tensors = dict(mask)
    for tensor in tensors.values():
        distributed.broadcast(tensor, 0)
    return Mask(tensors)


@contextmanager
def _seeded(model: nn.Module, seed: int) -> Iterator[None]:
    """Seed the generators of the CPU and of the model's devices, and put them back."""
    devices = sorted({parameter.get_device() for parameter in model.parameters() if parameter.is_cuda})
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield


@contextmanager
def _restored(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Put the values of ``weights`` back at the end."""
    values = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        yield
    finally:
        for name, weight in weights.items():
            weight.detach().copy_(values[name])


def _zero_the_dead(weights: Mapping[str, Tensor], alive: Mask) -> None:
    for name, weight in weights.items():
        weight.detach().masked_fill_(~alive[name], 0)
