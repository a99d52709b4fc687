"""How much faster a model's layers would be here if they were sparse: timed, layer by layer."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.errors import InputError, check_integer, check_number, check_type, place_of
from widthwise.masks import Mask
from widthwise.sparse._plan import plan
from widthwise.sparse.convert import sparsify
from widthwise.weights import prunable

__all__ = ["WHOLE", "Speed", "break_even", "interleaved", "measure_speeds", "random_mask", "sparse_layers"]

WHOLE = "model"
_LEAST = 3  # rounds, however long one takes

Run = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """One layer, or the whole model, at one sparsity.

    Attributes:
        layer: its name, ``"model"`` for the whole.
        work: ``"forward"``, or ``"step"`` for the backward pass too, and for the whole model SGD's update.
        sparsity: fraction of the weights removed.
        dense: median seconds of the dense layer, its weights masked.
        sparse: median seconds of the sparse one.
        ratio: median of dense over sparse, round by round.
        low: its lower quartile.
        high: its upper quartile.
        rounds: how often both were timed.
    """

    layer: str
    work: str
    sparsity: float
    dense: float
    sparse: float
    ratio: float
    low: float
    high: float
    rounds: int


def interleaved(contenders: Mapping[str, Run], rounds: int, seconds: float = math.inf) -> dict[str, list[float]]:
    """Seconds of each contender in each round, all in turn, after one round that is not counted.

    Args:
        contenders: what to run, by name.
        rounds: how many.
        seconds: after this long no new round begins, but for the first three.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    for i in range(rounds + 1):
        if i > _LEAST and time.perf_counter() > end:
            break
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if i:
                taken[name].append(time.perf_counter() - began)
    return taken


def measure_speeds(
    model: nn.Module,
    example: Tensor,
    sparsities: Sequence[float],
    *,
    rounds: int = 15,
    seconds: float = 1.0,
    seed: int = 0,
) -> Iterator[Speed]:
    """Time each layer that can be sparse, and then the whole model, with random masks; dense and sparse in turn.

    A layer is timed for itself, on what it gets from the example; the whole model as :func:`~widthwise.sparse.sparsify`
    makes it, by whose cost model layers stay dense where that is faster.

    Args:
        model: left as it is.
        example: a batch.
        sparsities: fractions of each layer's weights to remove, in [0, 1).
        rounds: times to run each.
        seconds: of a measurement; then it ends after three rounds.
        seed: draws the masks.

    Yields:
        Two for each layer and sparsity, forward and step, as soon as they are known.

    Raises:
        InputError: if the model does not take the example, no layer can be sparse, or an argument is out of range.
    """
    check_integer("rounds", rounds, _LEAST)
    check_number("seconds", seconds, 0)
    check_integer("seed", seed)
    if not sparsities:
        raise InputError("sparsities: got none, allowed is at least one number in [0, 1)")
    for sparsity in sparsities:
        check_number("sparsities", sparsity, 0, 1, high_open=True)
    inputs = _inputs(check_type("model", model, nn.Module), check_type("example", example, Tensor))
    pace = partial(_compared, rounds=rounds, seconds=seconds)
    for name, x in inputs.items():
        for sparsity in sparsities:
            layer = copy.deepcopy(model.get_submodule(name))
            yield from pace(name, sparsity, *_pair(layer, sparsity, seed, x, "always"), x, _layer_step)
    for sparsity in sparsities:
        pair = _pair(copy.deepcopy(model), sparsity, seed, example, "auto")
        yield from pace(WHOLE, sparsity, *pair, example, _model_step)


def break_even(speeds: Sequence[Speed]) -> float | None:
    """The sparsity from which on sparse is faster, from the ``speeds`` of one layer and one work; None if it never is.

    Sparse time over dense is taken for a line in the number of weights that live, through the two measurements nearest
    to 1; through 0 if there is one only.
    """
    near = sorted({s.sparsity: s for s in speeds}.values(), key=lambda s: abs(math.log(s.ratio)))[:2]
    if not near:
        return None
    (density, share), (other, its) = ([(1 - s.sparsity, 1 / s.ratio) for s in near] + [(0.0, 0.0)])[:2]
    slope = (share - its) / (density - other)
    if slope <= 0:
        return 0.0 if all(s.ratio > 1 for s in speeds) else None
    density += (1 - share) / slope
    return max(0.0, 1 - density) if density > 0 else None


def sparse_layers(model: nn.Module) -> list[str]:
    """Names of the layers of ``model`` that can be sparse."""
    masks = {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in prunable(model).items()}
    for mask in masks.values():
        mask.view(-1)[:1] = False  # a layer without a zero stays dense
    return [decision.name for decision in plan(model, Mask(masks), policy="always") if decision.converts]


def random_mask(model: nn.Module, sparsity: float, seed: int) -> Mask:
    """A mask that removes this fraction of each parameter's weights, to the nearest weight, at random."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name, weight in prunable(model).items():
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[torch.randperm(weight.numel(), generator=generator)[round(sparsity * weight.numel()) :]] = True
        masks[name] = mask.reshape(weight.shape).to(weight.device)
    return Mask(masks)


def _inputs(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """What each layer that can be sparse gets, in the order of the model; whether it wants a gradient, too."""
    model = copy.deepcopy(model).eval()
    layers = {name: model.get_submodule(name) for name in sparse_layers(model) if name}
    caught: dict[str, Tensor] = {}

    def catch(name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        caught[name] = inputs[0].detach().clone().requires_grad_(inputs[0].requires_grad)

    for name, layer in layers.items():
        layer.register_forward_pre_hook(partial(catch, name))
    try:
        result = model(example)
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        raise InputError(
            f"example: the model does not take shape {tuple(example.shape)} ({error}{place_of(error)})"
        ) from error
    if not isinstance(result, Tensor):
        raise InputError(f"model: returns a {type(result).__name__}, allowed is a model that returns a tensor")
    if not caught:
        raise InputError(
            "model: no layer of it can be sparse, allowed is one with plain linear or 2d convolutional ones"
        )
    return {name: caught[name] for name in layers if name in caught}


def _pair(model: nn.Module, sparsity: float, seed: int, x: Tensor, policy: Any) -> tuple[nn.Module, nn.Module]:
    """``model`` masked, in training mode where the batch allows it, and a copy made sparse."""
    mask = random_mask(model, sparsity, seed).apply(model)
    model.train(len(x) > 1)
    return model, sparsify(copy.deepcopy(model), mask, policy=policy, example=x)


def _compared(
    name: str, sparsity: float, dense: nn.Module, sparse: nn.Module, x: Tensor,
    step: Callable[[nn.Module, Tensor], Run], *, rounds: int, seconds: float,
) -> Iterator[Speed]:  # fmt: skip
    for work, make in (("step", step), ("forward", _forward)):
        if work == "forward":
            dense.eval(), sparse.eval()
        taken = interleaved({"dense": make(dense, x), "sparse": make(sparse, x)}, rounds, seconds)
        ratios = [a / b for a, b in zip(taken["dense"], taken["sparse"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        slow, fast = (statistics.median(taken[kind]) for kind in ("dense", "sparse"))
        yield Speed(name, work, sparsity, slow, fast, middle, low, high, len(ratios))


def _forward(model: nn.Module, x: Tensor) -> Run:
    x = x.detach()

    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def _layer_step(layer: nn.Module, x: Tensor) -> Run:
    slope = torch.ones_like(layer(x))

    def run() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x).backward(slope)

    return run


def _model_step(model: nn.Module, x: Tensor) -> Run:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def run() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return run
