"""Which weights of big residual networks survive: Figures 2 and 4, dead layers, cut paths, critical sparsities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from widthwise import models
from widthwise.data import examples_per_class
from widthwise.experiments.common import at, canvas, load, spread_out
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.parts import in_parts
from widthwise.masks import Mask
from widthwise.pruning import critical_sparsity, dead_layers, prune
from widthwise.pruning.allocation import keep_count
from widthwise.pruning.collapse import cut_at
from widthwise.pruning.scores import grasp, snip
from widthwise.pruning.selection import select
from widthwise.report.style import LIGHT
from widthwise.weights import prunable

__all__ = ["fig2", "fig4"]

# Name -> (score, or None for SynFlow, which prunes in rounds; whether the network is a stable one).
_METHODS: dict[str, tuple[Callable[..., dict[str, Tensor]] | None, bool]] = {
    "SNIP": (snip, False),
    "GraSP": (grasp, False),
    "SynFlow": (None, False),
    "SBP-SR": (snip, True),
}
_NETWORKS = {"ReLU": ("relu", True), "tanh": ("tanh", True), "ReLU, no BatchNorm": ("relu", False)}
_SPARSITIES = (0.9, 0.95, 0.98, 0.995, 0.999)
_SHOWN = 0.98
_BATCH = 50


@dataclass(frozen=True)
class _Case:
    """One network under one method; everything its masks depend on."""

    depth: int
    network: str
    method: str
    seed: int
    width: float
    examples: int
    rounds: int
    sparsities: tuple[float, ...]
    data: str


def fig2(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 2, and more: weights kept per layer of residual networks with doubled filters, standard and stable.

    No training: the networks are at Kaiming's initialization, in training mode. SBP-SR is SNIP on the stable network.
    SynFlow goes once from the dense network to the highest sparsity, in 100 rounds, and is read off on its way; it has
    no critical sparsity of its own and takes no notice of activation or BatchNorm.

    Args:
        scale: ResNet32, 50 and 104 at full size from ``"small"`` on; three seeds there for SNIP and SBP-SR, one for the
            dearer methods.
        data: CIFAR-10 by default, ten examples a class.
        seed: of the weights and the examples.
    """
    depths = at(scale, (20,), (32, 50, 104), (32, 50, 104))
    rows, settings = _kept(scale, data, seed, depths, _NETWORKS, _METHODS)
    return Outcome("fig2", scale, settings, rows, _draw(rows, [_nearest(rows, _SHOWN)]), _lost(rows))


def fig4(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 4: weights kept per layer of ResNet32 with ReLU and tanh by SNIP, standard and stable.

    Args:
        scale: as for :func:`fig2`, whose runs of these networks it shares if one command runs both.
        data: CIFAR-10 by default, ten examples a class.
        seed: of the weights and the examples.
    """
    rows, settings = _kept(scale, data, seed, at(scale, (20,), (32,), (32,)), ("ReLU", "tanh"), ("SNIP", "SBP-SR"))
    shown = sorted({_nearest(rows, sparsity) for sparsity in (0.9, 0.98, 0.995)})
    return Outcome("fig4", scale, settings, rows, _draw(rows, shown), _lost(rows))


def _kept(
    scale: str, data: Any, seed: int, depths: Iterable[int], networks: Iterable[str], methods: Iterable[str]
) -> tuple[list[Row], dict[str, Any]]:
    """What networks keep under methods, and the settings that they share."""
    splits = load(scale, data, "cifar10")
    case = partial(
        _Case,
        width=at(scale, 0.25, 2.0, 2.0),
        examples=at(scale, 2, 10, 10),
        rounds=at(scale, 5, 100, 100),
        sparsities=at(scale, (0.9, 0.98), _SPARSITIES, _SPARSITIES),
        data=splits.name,
    )
    cases = [
        case(depth, network, method, run)
        for depth, network, method in product(depths, networks, methods)
        for run in range(seed, seed + _seeds(scale, method))
        if method != "SynFlow" or network == "ReLU"
    ]
    found = in_parts("masks", cases, partial(_masks, train=splits.train))
    settings = {key: value for key, value in vars(cases[0]).items() if key not in ("depth", "network", "method")}
    return _averaged(cases, found), settings


def _nearest(rows: list[Row], sparsity: float) -> float:
    """The sparsity among those of the rows."""
    return float(min(spread_out(rows, "sparsity"), key=lambda s: abs(s - sparsity)))


def _seeds(scale: str, method: str) -> int:
    return at(scale, 1, 3, 3) if method in ("SNIP", "SBP-SR") else at(scale, 1, 1, 3)


def _masks(case: _Case, train: tuple[Tensor, Tensor]) -> Row:
    """What one network keeps at each sparsity."""
    score, stable = _METHODS[case.method]
    activation, batch_norm = _NETWORKS[case.network]
    x, y = examples_per_class(*train, case.examples, case.seed)
    torch.manual_seed(case.seed)
    build = getattr(models, f"resnet{case.depth}")
    model = build(10, x.shape[1], case.width, activation, stable, batch_norm).train()
    if score is None:
        least, masks = None, _on_the_way(model, case, x)
    else:
        batches = list(zip(torch.split(x, _BATCH), torch.split(y, _BATCH), strict=True))
        scores = score(model, batches, functional.cross_entropy)
        total, least = sum(tensor.numel() for tensor in scores.values()), critical_sparsity(scores, seed=case.seed)
        masks = (Mask(select(scores, keep_count(total, s), seed=case.seed)) for s in case.sparsities)
    kept, dead, cut = [], [], []
    for mask in masks:
        kept.append([round(layer.connectivity, 6) for layer in mask.layers()])
        dead.append(len(dead_layers(mask)))
        cut.append(cut_at(model, mask, torch.ones_like(x[:1])) is not None)
    return {"critical_sparsity": least, "kept": kept, "dead": dead, "cut": cut}


def _on_the_way(model: nn.Module, case: _Case, x: Tensor) -> Iterator[Mask]:
    """SynFlow's masks: its rounds are shared out so that each leaves the same fraction of weights."""
    total = sum(weight.numel() for weight in prunable(model).values())
    last, done = 1 - case.sparsities[-1], 0
    for sparsity in case.sparsities:
        until = round(case.rounds * math.log(1 - sparsity) / math.log(last))
        rounds, done = max(until - done, 1), until
        budget = keep_count(total, sparsity)
        yield prune(
            model, method="synflow", data=(x, None), budget=budget, rounds=rounds, seed=case.seed, on_collapse="allow"
        )


def _averaged(cases: list[_Case], found: list[dict[str, Any]]) -> list[Row]:
    """For each network, method and sparsity the mean over seeds, with the extremes of what is counted."""
    rows: list[Row] = []
    for key in dict.fromkeys((case.depth, case.network, case.method) for case in cases):
        mine = [one for case, one in zip(cases, found, strict=True) if (case.depth, case.network, case.method) == key]
        least = [one["critical_sparsity"] for one in mine]
        for i, sparsity in enumerate(cases[0].sparsities):
            dead, shares = [one["dead"][i] for one in mine], [one["kept"][i] for one in mine]
            rows.append(
                {"depth": key[0], "network": key[1], "method": key[2], "sparsity": sparsity, "seeds": len(mine)}
                | {"critical_sparsity": None if None in least else fmean(least)}
                | {"layers": len(shares[0]), "dead_least": min(dead), "dead_mean": fmean(dead), "dead_most": max(dead)}
                | {
                    "cut": sum(one["cut"][i] for one in mine),
                    "kept": [fmean(each) for each in zip(*shares, strict=True)],
                }
            )
    return rows


def _lost(rows: list[Row]) -> list[str]:
    """What the deepest network loses at the highest sparsity."""
    depth, sparsity = max(row["depth"] for row in rows), max(row["sparsity"] for row in rows)
    return [
        f"ResNet{depth}, {row['network']}, {sparsity:.1%}, {row['method']}: {row['dead_mean']:.4g} of {row['layers']}"
        f" layers dead ({row['dead_least']} to {row['dead_most']}), all paths cut in {row['cut']} of {row['seeds']}."
        for row in rows
        if (row["depth"], row["sparsity"]) == (depth, sparsity)
    ]


def _draw(rows: list[Row], sparsities: list[float]) -> Figure:
    cases = list(product(spread_out(rows, "network"), spread_out(rows, "depth"), sparsities))
    figure, panels = canvas([f"ResNet{d}, {n}, {s:.1%} pruned" for n, d, s in cases], width=4.4)
    for panel, (network, depth, sparsity) in zip(panels, cases, strict=True):
        for i, method in enumerate(_METHODS):
            # SynFlow's masks do not depend on the activation
            chosen = (depth, network if method != "SynFlow" else "ReLU", method, sparsity)
            for row in rows:
                if (row["depth"], row["network"], row["method"], row["sparsity"]) == chosen:
                    kept = [100 * share or float("nan") for share in row["kept"]]
                    panel.plot(range(1, len(kept) + 1), kept, color=LIGHT[f"series-{i + 1}"], linewidth=1, label=method)
        panel.set_yscale("log")
        panel.set_xlabel("layer")
    panels[0].set_ylabel("weights kept (%)")
    panels[0].legend(frameon=False)
    return figure
