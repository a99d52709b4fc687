"""Find the sizes with which a wide network spends as many weights as a narrow one, before either is made."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from torch import nn

from widthwise.errors import InputError, InputTypeError, check_choice, check_integer, check_number
from widthwise.masks import LayerCount
from widthwise.weights import prunable
from widthwise.widening import linear, nonlinear
from widthwise.widening.counting import Factory, skeleton
from widthwise.widening.distribution import Distribution, counts_of, kernel_size
from widthwise.widening.layers import constant_outputs, units
from widthwise.widening.pairs import Pair
from widthwise.widening.plan import Plan
from widthwise.widening.sizes import Inner, solve
from widthwise.widening.sparse import shapes_of

__all__ = ["METHODS", "plan"]

METHODS = ("sparse", "linear_bottleneck", "nonlinear_bottleneck")


class _TooWideError(Exception):
    """At this width a unit would have less than one weight; says what is short."""


@dataclass(frozen=True)
class _Narrow:
    """What every method starts from: the network to widen, one twice as wide to show what grows, and the budget."""

    width: int
    model: nn.Module
    twice: nn.Module
    given: int | None

    @property
    def weights(self) -> int:
        return sum(w.numel() for w in prunable(self.model).values())

    @property
    def budget(self) -> int:
        return self.weights if self.given is None else self.given


def plan(
    build: Factory,
    base_width: int,
    factor: float,
    method: str = "sparse",
    *,
    granularity: str = "weight",
    distribution: Distribution = "balanced",
    whole: Collection[str] = (),
    budget: int | None = None,
) -> Plan:
    """How :func:`widthwise.widen` would spend the weights; no network is trained or given memory.

    The arguments and the errors are those of :func:`widthwise.widen`.

    Example:
        >>> from widthwise.models import mlp
        >>> found = plan(lambda width: mlp(16, 4, width=width, depth=3), 8, 2, "linear_bottleneck")
        >>> found.budget, found.weights, found.unit, found.inner["hidden2.weight"]
        (480, 480, 32, 4)
    """
    check_choice("method", method, METHODS)
    check_integer("base_width", base_width, 1)
    check_number("factor", factor, 1)
    _check_meant(method, granularity, distribution, whole)
    narrow = _narrow(build, base_width, budget)
    at = partial(_at, build, narrow, method, granularity, distribution, whole)
    width = round(factor * base_width)
    try:
        return at(width)
    except _TooWideError as error:
        most = _widest(at, base_width, width)
        allowed = "" if most is None else f", allowed is at most {most / base_width:.4g} (width {most})"
        raise InputError(f"factor: got {factor:g} with {method}{allowed}: at width {width} {error}") from None


def _check_meant(method: str, granularity: str, distribution: Distribution, whole: Collection[str]) -> None:
    """Refuse a choice that the method does not have."""
    if method != "sparse" and (granularity, distribution) != ("weight", "balanced"):
        raise InputError(
            f"granularity, distribution: got {granularity!r}, {distribution!r}, allowed with method 'sparse' only, "
            f"got {method!r}"
        )
    if isinstance(whole, str):
        raise InputTypeError(f"whole: got {whole!r}, allowed is a sequence of names, such as ({whole!r},)")
    if method != "linear_bottleneck" and whole:
        raise InputError(f"whole: got {whole!r}, allowed with method 'linear_bottleneck' only, got {method!r}")


def _narrow(build: Factory, width: int, budget: int | None) -> _Narrow:
    """The network to widen, if its number of weights grows with width."""
    if budget is not None:
        check_integer("budget", budget, 1)
    narrow = _Narrow(width, skeleton(build, width), skeleton(build, 2 * width), budget)
    doubled = sum(w.numel() for w in prunable(narrow.twice).values())
    if doubled <= narrow.weights:
        raise InputError(
            f"build: the network has {narrow.weights} weights at width {width} and {doubled} at width {2 * width}; "
            "its number of weights must grow with width"
        )
    return narrow


def _at(
    build: Factory,
    narrow: _Narrow,
    method: str,
    granularity: str,
    distribution: Distribution,
    whole: Collection[str],
    width: int,
) -> Plan:
    """The plan at one width.

    Raises:
        _TooWideError: if some unit would have less than one weight.
        InputError: if there is no network of that width, or none with the same layers.
    """
    try:
        wide = skeleton(build, width)
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise InputError(f"build: cannot make a network of width {width} ({error})") from None
    if shapes_of(wide).keys() != shapes_of(narrow.model).keys():
        raise InputError(f"build: the networks of widths {narrow.width} and {width} have other layers, not wider ones")
    if method == "sparse":
        return _sparse(narrow, width, wide, granularity, distribution)
    if method == "linear_bottleneck":
        return _linear(narrow, width, wide, whole)
    return _nonlinear(narrow, width, wide)


def _sparse(narrow: _Narrow, width: int, wide: nn.Module, granularity: str, distribution: Distribution) -> Plan:
    shapes, budget = shapes_of(wide), narrow.budget
    check_integer("budget", budget, 1, sum(w.numel() for w in prunable(wide).values()))
    if budget < len(shapes):
        raise _TooWideError(f"there are {len(shapes)} layers to share {budget} weights")
    counts = counts_of(shapes, budget, distribution, granularity)
    for name, count in units(wide).items():
        kernel = kernel_size(shapes[name]) if granularity == "io" else 1
        if counts[name] < count * kernel:
            what = "weights" if kernel == 1 else f"kernels of {kernel} weights"
            raise _TooWideError(
                f"{name!r} has {count} units and would keep {counts[name] // kernel} {what} of {budget}"
            )
    layers = tuple(LayerCount(n, shapes[n], counts[n], w.numel()) for n, w in prunable(wide).items())
    return Plan("sparse", narrow.width, width, budget, layers)


def _linear(narrow: _Narrow, width: int, wide: nn.Module, whole: Collection[str]) -> Plan:
    """The readout, and whatever else has as many outputs at every width, stays whole."""
    whole = {*whole, *constant_outputs(narrow.model, narrow.twice)}
    inner, before = (linear.inner_of(narrow.model, model, whole) for model in (wide, narrow.model))
    split = sum(one.reference * one.cost - prunable(narrow.model)[name].numel() for name, one in before.items())
    budget = narrow.budget + (split if narrow.given is None else 0)
    return _bottleneck("linear_bottleneck", narrow, width, wide, budget, inner)


def _nonlinear(narrow: _Narrow, width: int, wide: nn.Module) -> Plan:
    chosen = nonlinear.apart(narrow.model, narrow.twice, wide)
    inner = nonlinear.inner_of(narrow.model, wide, chosen)
    return _bottleneck("nonlinear_bottleneck", narrow, width, wide, narrow.budget, inner, tuple(chosen))


def _bottleneck(
    method: str,
    narrow: _Narrow,
    width: int,
    wide: nn.Module,
    budget: int,
    inner: Mapping[str, Inner],
    pairs: tuple[Pair, ...] = (),
) -> Plan:
    if not inner:
        raise InputError(f"build: {method} has no layer to split; the network has none whose size grows with width")
    totals = {name: w.numel() for name, w in prunable(wide).items()}
    narrowed = {layer for one in inner.values() for layer in one.spends}
    kept = {name: 0 if name in narrowed else total for name, total in totals.items()}
    whole, least = sum(kept.values()), sum(one.cost for one in inner.values())
    if whole + least > budget:
        raise _TooWideError(
            f"layers left whole need {whole} weights and one inner unit in each of the others {least}, of {budget}"
        )
    check_integer("budget", budget, 1, whole + sum(one.cost * one.most for one in inner.values()))
    sizes = solve(inner, budget - whole)
    for name, one in inner.items():
        for layer, spent in one.spends.items():
            kept[layer] = sizes[name] * spent
    layers = tuple(LayerCount(n, tuple(w.shape), kept[n], totals[n]) for n, w in prunable(wide).items())
    return Plan(method, narrow.width, width, budget, layers, sizes, max(one.cost for one in inner.values()), pairs)


def _widest(at: Callable[[int], Plan], low: int, high: int) -> int | None:
    """The largest width that a method allows, below one that it does not; ``None`` if it allows none.

    A factory that takes only multiples of something, such as its attention heads, is asked for common multiples.
    """
    for step in (1, math.gcd(low, high)):
        widths = range(low, high, step)
        with suppress(InputError, RuntimeError):
            allowed = bisect.bisect_left(widths, True, key=partial(_fails, at))
            return widths[allowed - 1] if allowed else None
    return None


def _fails(at: Callable[[int], Plan], width: int) -> bool:
    try:
        at(width)
    except _TooWideError:
        return True
    return False
