"""What is to be trained: every network of a comparison as a frozen record, before any of them exists."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from widthwise import widening
from widthwise.comparison.ways import DENSE, SPARSE, check_method, is_scored, methods_known, widening_of
from widthwise.errors import InputError, InputTypeError, check_choice, check_integer, check_number, outlined
from widthwise.training import TrainConfig
from widthwise.widening import weights_at, width_for
from widthwise.widening.counting import skeleton
from widthwise.widening.sparse import shapes_of

__all__ = ["Architecture", "Plan", "Run", "base_width_for"]

RESULTS_VERSION = 1
_ALWAYS_ALLOWED = 32  # the largest factor by default: few features leave a budget less than a weight a unit there
_DTYPES = ("float32", "float64")
SCOPES = ("global", "uniform", "erk", "balanced")


@dataclass(frozen=True)
class Architecture:
    """How a width becomes a network.

    Attributes:
        name: names the architecture in stored results.
        build: from a width to a freshly initialised module.
        depth: hidden layers of a perceptron, ``None`` for any other network; theory speaks of perceptrons.
        activation: name of the perceptron's activation.
    """

    name: str
    build: Callable[[int], nn.Module] = field(compare=False)
    depth: int | None = None
    activation: str | None = None

    @classmethod
    def of(cls, build: Callable[[int], nn.Module]) -> Architecture:
        """Name a user's own factory by its qualified name and by what it builds at width 2.

        Raises:
            InputTypeError: if ``build`` is a module, not a function that makes one, or makes something else.
            InputError: if it takes no width.
        """
        if isinstance(build, nn.Module):
            raise InputTypeError("build: got a module, allowed is a function from a width to a new one")
        called = getattr(build, "__qualname__", type(build).__name__)
        try:
            made = build(2)
        except TypeError as error:
            raise InputError(
                f"build: {called} fails on the width 2, allowed is a function of a width: {error}"
            ) from error
        if not isinstance(made, nn.Module):
            raise InputTypeError(f"build: {called} returned {outlined(made)}, allowed is an nn.Module")
        return cls(f"{called}/{hashlib.sha256(repr(made).encode()).hexdigest()[:12]}", build)


@dataclass(frozen=True)
class Run:
    """One network to train: its content hash names its result in the store.

    Attributes:
        data: fingerprint of the three parts of the data set.
        architecture: name of the architecture.
        method: how the wide network comes to its weights.
        scope: how a score's weights are shared out among layers; empty where no score is used.
        width: hidden units.
        weights: number of weights that live.
        seed: draws the initialization, the mask and the order of examples.
        train: how it is trained.
        dtype: ``"float32"`` or ``"float64"``.
        version: changes whenever the same record would give another result.
    """

    data: str
    architecture: str
    method: str
    scope: str
    width: int
    weights: int
    seed: int
    train: TrainConfig
    dtype: str = "float32"
    version: int = RESULTS_VERSION


@dataclass(frozen=True)
class Plan:
    """Every choice that shapes a comparison, checked.

    Attributes:
        architecture: from a width to a network.
        base_width: width of the dense baseline.
        factors: widening factors, each above 1.
        methods: of :func:`widthwise.comparison.ways.methods_known`, or with a connectivity of the last layer.
        seeds: how many networks of each kind.
        train: how each is trained.
        scopes: allocation of each score's weights among layers, ``"global"`` where not named.
        dtype: ``"float32"`` or ``"float64"``.

    Raises:
        InputError: for an unknown method, a factor of at most 1, or above 32 and of a width above the number of
            weights, two factors of one width.
    """

    architecture: Architecture
    base_width: int
    factors: tuple[float, ...] = (2, 4, 8, 16, 32)
    methods: tuple[str, ...] = (DENSE, SPARSE, "magnitude", "snip")
    seeds: int = 5
    train: TrainConfig = field(default_factory=TrainConfig)
    scopes: tuple[tuple[str, str], ...] = (("magnitude", "balanced"),)
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_integer("base_width", self.base_width, 1)
        check_integer("seeds", self.seeds, 1)
        check_choice("dtype", self.dtype, _DTYPES)
        if not self.methods:
            raise InputError(f"methods: got none, allowed are {', '.join(methods_known())}")
        for method in self.methods:
            check_method("methods", method)
        for method, scope in self.scopes:
            check_choice("scopes", method, methods_known())
            check_choice("scopes", scope, SCOPES)
        for factor in self.factors:
            self._check_factor(check_number("factors", factor, 1, low_open=True))
        if len({self.base_width, *self.widths}) <= len(self.factors):
            raise InputError(
                f"factors: got {self.factors} at base width {self.base_width}, allowed are factors of different widths"
            )
        self._check_budget()

    def _check_factor(self, factor: float) -> None:
        """Refuse a width at which the budget is less than a weight for each unit of one layer."""
        most = max(self.budget // self.base_width, _ALWAYS_ALLOWED)
        if factor > most:
            raise InputError(
                f"factors: got {factor:g} at base width {self.base_width}, whose {self.budget} weights are fewer than "
                f"the units of so wide a layer; allowed is at most {most}"
            )

    def _check_budget(self) -> None:
        """Build the networks' shapes, so that a factory's own errors come before anything is written."""
        for width in self.widths:
            if weights_at(self.architecture.build, width) <= self.budget:
                raise InputError(
                    f"build: the network of width {width} has no more weights than that of width {self.base_width}; "
                    "its number of weights must grow with width"
                )
        for method in self.methods:
            if self.widths and all(isinstance(self.widened(method, width), str) for width in self.widths):
                raise InputError(f"methods: got {method!r}, but {self.widened(method, self.widths[0])}")

    @property
    def widths(self) -> tuple[int, ...]:
        """The wide networks' widths, one a factor."""
        return tuple(round(f * self.base_width) for f in self.factors)

    @cached_property
    def budget(self) -> int:
        """Number of weights of the dense baseline, and of every network within the budget."""
        return weights_at(self.architecture.build, self.base_width)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as PyTorch names it."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    def runs(self, data: str) -> list[Run]:
        """Every network to train on the data of this fingerprint, the baseline's first."""
        kinds = [(DENSE, self.base_width)]
        kinds += [
            (m, w) for m in dict.fromkeys(self.methods) for w in self.widths if not isinstance(self.widened(m, w), str)
        ]
        return [self._run(data, m, w, seed) for m, w in kinds for seed in range(self.seeds)]

    def widened(self, method: str, width: int) -> widening.Plan | str | None:
        """How a bottleneck spends the budget at a width; why a method cannot; ``None`` if there is nothing to plan."""
        if (method, width) not in self._widened:
            chosen = widening_of(method) if width != self.base_width else None
            self._widened[method, width] = None if chosen is None else self._planned(width, chosen)
        return self._widened[method, width]

    @cached_property
    def _widened(self) -> dict[tuple[str, int], widening.Plan | str | None]:
        return {}

    def _planned(self, width: int, chosen: dict[str, Any]) -> widening.Plan | str | None:
        build, factor = self.architecture.build, width / self.base_width
        try:
            if chosen["method"] != SPARSE:
                return widening.plan(build, self.base_width, factor, budget=self.budget, **chosen)
            if "distribution" in chosen:
                chosen["distribution"](shapes_of(skeleton(build, width)), self.budget)
            return None
        except InputError as error:
            return str(error)

    def left_out(self) -> tuple[str, ...]:
        """The networks that cannot be made, and why."""
        pairs = [(m, w, self.widened(m, w)) for m in dict.fromkeys(self.methods) for w in self.widths]
        return tuple(f"{m} at width {w} is left out: {why}" for m, w, why in pairs if isinstance(why, str))

    def within(self, run: Run) -> bool:
        """Whether a run keeps to the budget, as closely as whole units allow."""
        return run.method != DENSE or run.width == self.base_width

    def _run(self, data: str, method: str, width: int, seed: int) -> Run:
        widened = self.widened(method, width)
        spent = weights_at(self.architecture.build, width) if method == DENSE else self.budget
        return Run(
            data=data,
            architecture=self.architecture.name,
            method=method,
            scope=dict(self.scopes).get(method, "global") if is_scored(method) else "",
            width=width,
            weights=widened.weights if isinstance(widened, widening.Plan) else spent,
            seed=seed,
            train=self.train,
            dtype=self.dtype,
        )


def base_width_for(architecture: Architecture, budget: int | None, base_width: int | None) -> int:
    """The baseline's width, from a budget or given outright.

    Raises:
        InputError: unless exactly one is given, or if no width meets the budget exactly.
    """
    if (budget is None) == (base_width is None):
        raise InputError("budget, base_width: give exactly one of the two")
    if base_width is not None:
        return check_integer("base_width", base_width, 1)
    return width_for(architecture.build, check_integer("budget", budget, 1))
