"""From a run's record to the network it names, ready to be trained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise import widening
from widthwise.comparison.plan import Plan, Run
from widthwise.comparison.ways import is_scored, widening_of
from widthwise.data import examples_per_class
from widthwise.errors import CollapseWarning
from widthwise.masks import LayerCount, Mask
from widthwise.pruning import prune
from widthwise.widening import sparsify_randomly
from widthwise.widening.widen import narrowed

__all__ = ["Net", "make"]

_SCORING_EXAMPLES = 256
_PER_CLASS = 10


@dataclass(frozen=True)
class Net:
    """A network at initialization.

    Attributes:
        model: the module, its pruned weights zero.
        mask: which weights live; ``None`` for a dense network.
        layers: what each layer spends, of what it has in the dense network of its width.
        drawn: whether its weights are independent draws, of which kernel theory speaks.
        notes: what a reader of its results should know, such as a layer that died.
    """

    model: nn.Module
    mask: Mask | None
    layers: tuple[LayerCount, ...]
    drawn: bool = True
    notes: tuple[str, ...] = ()

    @property
    def pruned(self) -> dict[str, Tensor] | None:
        """Parameter name -> ``True`` where the weight stays zero."""
        return None if self.mask is None else {name: ~alive for name, alive in self.mask.items()}


def make(run: Run, plan: Plan, data: tuple[Tensor, Tensor]) -> Net:
    """Initialise and prune the network of a run; the same on every call.

    Args:
        run: its record.
        plan: the comparison it belongs to.
        data: training inputs and targets, from which a score's examples are drawn.
    """
    planned = plan.widened(run.method, run.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        model = plan.architecture.build(run.width).to(plan.torch_dtype)
        if isinstance(planned, widening.Plan):
            notes = (planned.summary,) if planned.error else ()
            return Net(narrowed(model, planned.inner, planned.pairs), None, planned.layers, False, notes)
    if is_scored(run.method):
        return _pruned(run, model, data)
    chosen = widening_of(run.method)
    if chosen is None:
        return Net(model, None, Mask.dense(model).layers())
    mask = sparsify_randomly(model, run.weights, distribution=chosen.get("distribution", "balanced"), seed=run.seed)
    return Net(model, mask, mask.layers())


def _pruned(run: Run, model: nn.Module, data: tuple[Tensor, Tensor]) -> Net:
    labels = not data[1].is_floating_point()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        mask = prune(
            model,
            method=run.method,
            budget=run.weights,
            data=_examples(data, run.seed),
            loss=functional.cross_entropy if labels else functional.mse_loss,
            scope=run.scope,
            seed=run.seed,
            on_collapse="warn",
        )
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, CollapseWarning))
    return Net(model, mask, mask.layers(), False, notes)


def _examples(data: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """Ten examples a class, or as many as the rarest class has; 256 of a regression set."""
    x, y = data
    if not y.is_floating_point():
        rarest = int(torch.unique(y, return_counts=True)[1].min())
        return examples_per_class(x, y, min(_PER_CLASS, rarest), seed)
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:_SCORING_EXAMPLES]
    return x[chosen.to(x.device)], y[chosen.to(x.device)]
