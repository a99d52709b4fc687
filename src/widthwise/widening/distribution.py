"""How a budget of weights is shared out among layers, and among whole kernels where they live or die together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from widthwise.errors import InputError, InputTypeError, check_choice, check_integer, check_number
from widthwise.pruning.allocation import balanced, erk, uniform

__all__ = ["DISTRIBUTIONS", "GRANULARITIES", "Distribution", "LastLayer", "counts_of", "kernel_size"]

Shapes = Mapping[str, tuple[int, ...]]
Distribution = str | Callable[[Shapes, int], Mapping[str, int]]
"""One of :data:`DISTRIBUTIONS`, or a function from the layers' shapes and the budget to how many weights each keeps."""

DISTRIBUTIONS = ("balanced", "uniform", "erk")
GRANULARITIES = ("weight", "io")
_MOST_MOVED = 8  # of the largest kernels, worth of weights of each size that are tried, where there are many sizes


@dataclass(frozen=True)
class LastLayer:
    """A distribution: so much of the last layer, the rest balanced over the others (the wider-nets paper, Figure 5).

    Attributes:
        connectivity: share of the last layer's weights that stays, to the nearest whole weight.

    Raises:
        InputError: if it is not in (0, 1]; when called, if the other layers cannot hold or do without the rest.

    Example:
        >>> LastLayer(0.5)({"first": (4, 10), "last": (3, 4)}, 20)
        {'first': 14, 'last': 6}
    """

    connectivity: float

    def __post_init__(self) -> None:
        check_number("last_layer_connectivity", self.connectivity, 0, 1, low_open=True)

    def __call__(self, shapes: Shapes, keep: int) -> dict[str, int]:
        """How many weights each layer keeps."""
        *others, last = shapes
        sizes = {name: math.prod(shapes[name]) for name in others}
        total = math.prod(shapes[last])
        share = max(1, round(self.connectivity * total))
        if not len(others) <= keep - share <= sum(sizes.values()):
            most = min(total, keep - len(others)) / total
            least = max(1, keep - sum(sizes.values())) / total
            raise InputError(
                f"last_layer_connectivity: got {self.connectivity:g} of {total} weights, allowed is {least:.3g} to "
                f"{most:.3g} for {keep} weights in all"
            )
        return {**balanced(sizes, keep - share), last: share}


def counts_of(shapes: Shapes, keep: int, distribution: Distribution, granularity: str) -> dict[str, int]:
    """How many weights each layer keeps, ``keep`` in all.

    Args:
        shapes: of each layer's weights.
        keep: number of weights to keep.
        distribution: ``"balanced"`` (water-filling from the largest layer down), ``"uniform"`` (the same density
            everywhere), ``"erk"``, or a function of one's own.
        granularity: ``"weight"``, or ``"io"``: counts are multiples of the kernel size.

    Raises:
        InputError: for an unknown name; a function that does not give every layer a whole number of its weights,
            ``keep`` in all; or kernels that cannot add up to ``keep``.
    """
    check_choice("granularity", granularity, GRANULARITIES)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if callable(distribution):
        counts = _checked(distribution(shapes, keep), sizes, keep)
    else:
        check_choice("distribution", distribution, DISTRIBUTIONS)
        rules = {"balanced": lambda: balanced(sizes, keep), "uniform": lambda: uniform(sizes, keep)}
        counts = rules.get(distribution, lambda: erk(shapes, keep))()
    return counts if granularity == "weight" else _whole_kernels(counts, shapes)


def kernel_size(shape: tuple[int, ...]) -> int:
    """Weights from one input to one output: the entries of a convolution's kernel, 1 in a dense layer."""
    return math.prod(shape[2:])


def _checked(got: object, sizes: Mapping[str, int], keep: int) -> dict[str, int]:
    if not isinstance(got, Mapping):
        raise InputTypeError(f"distribution: the function gave a {type(got).__name__}, allowed is a mapping")
    if set(got) != set(sizes):
        odd = sorted(set(sizes) ^ set(got), key=str)[0]
        raise InputError(f"distribution: the function gave counts of other layers ({odd!r} is in one of the two only)")
    counts = {name: check_integer(f"distribution[{name!r}]", got[name], 0, size) for name, size in sizes.items()}
    if sum(counts.values()) != keep:
        raise InputError(f"distribution: the function gave {sum(counts.values())} weights in all, allowed is {keep}")
    return counts


def _whole_kernels(counts: Mapping[str, int], shapes: Shapes) -> dict[str, int]:
    """The nearest counts of whole kernels with the same sum: round down, then add or take the fewest weights."""
    sizes = {name: kernel_size(shape) for name, shape in shapes.items()}
    held = {name: count // sizes[name] for name, count in counts.items()}
    room = {name: shapes[name][0] * shapes[name][1] - held[name] for name in shapes}

    def change(size: int, kernels: int) -> None:
        """Add kernels of a size, or take them if negative, where there are most to add or to take."""
        step = 1 if kernels > 0 else -1
        for _ in range(abs(kernels)):
            name = max((n for n in shapes if sizes[n] == size), key=(room if kernels > 0 else held).__getitem__)
            held[name], room[name] = held[name] + step, room[name] - step

    def of(size: int, places: Mapping[str, int]) -> int:
        return sum(places[name] for name in shapes if sizes[name] == size)

    missing = sum(counts.values()) - sum(held[name] * sizes[name] for name in shapes)
    by_size = sorted(set(sizes.values()), reverse=True)
    for size in by_size:
        kernels = min(of(size, room), missing // size)
        change(size, kernels)
        missing -= kernels * size
    spare = {name: max(kernels - 1, 0) for name, kernels in held.items()}
    moved = by_size[0] * (by_size[0] if len(by_size) < 3 else _MOST_MOVED)
    limits = {size: (max(-of(size, spare), -(moved // size)), min(of(size, room), moved // size)) for size in by_size}
    for size, kernels in _changes(missing, limits, sum(counts.values())).items():
        change(size, kernels)
    return {name: held[name] * sizes[name] for name in shapes}


def _changes(missing: int, limits: Mapping[int, tuple[int, int]], keep: int) -> dict[int, int]:
    """How many kernels of each size to add, or to take if negative, so that ``missing`` weights are made up.

    Args:
        missing: weights to add in all.
        limits: for each size of a kernel, the largest first, the least and the most to add.
        keep: number of weights in all, for the message.
    """
    *large, small = limits
    found = []
    for added in itertools.product(*(range(limits[size][0], limits[size][1] + 1) for size in large)):
        rest = missing - sum(n * size for n, size in zip(added, large, strict=True))
        if rest % small == 0 and limits[small][0] <= rest // small <= limits[small][1]:
            found.append(dict(zip(limits, (*added, rest // small), strict=True)))
    if not found:
        unit = math.gcd(*limits)
        raise InputError(
            f"budget: got {keep} weights, which whole kernels of {' and '.join(map(str, limits))} cannot add up to; "
            f"allowed near it are multiples of {unit}"
        )
    return min(found, key=lambda change: sum(abs(n) * size for size, n in change.items()))
