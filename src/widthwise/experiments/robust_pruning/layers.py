"""Which weights of big residual networks survive: Figures 2 and 4, dead layers, critical sparsities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from widthwise import models
from widthwise.data import examples_per_class
from widthwise.experiments.outcome import Outcome, Row
from widthwise.experiments.robust_pruning.common import at, canvas, load, spread_out
from widthwise.masks import Mask
from widthwise.pruning import critical_sparsity, dead_layers, prune
from widthwise.pruning.allocation import keep_count
from widthwise.pruning.scores import grasp, snip
from widthwise.pruning.selection import select
from widthwise.report.style import LIGHT

__all__ = ["fig2"]

# Name -> (score, or None for SynFlow, which prunes in rounds; whether the network is a stable one).
_METHODS: dict[str, tuple[Callable[..., dict[str, Tensor]] | None, bool]] = {
    "SNIP": (snip, False),
    "GraSP": (grasp, False),
    "SynFlow": (None, False),
    "SBP-SR": (snip, True),
}
_SHOWN = 0.98


def fig2(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figures 2 and 4: weights kept per layer of residual networks with doubled filters, standard and stable.

    No training: the networks are at Kaiming's initialization. SBP-SR is SNIP on the stable network. SynFlow prunes in
    100 rounds, so it has no critical sparsity of its own, and takes no notice of the activation.

    Args:
        scale: ResNet32, 50 and 104 at full size from ``"small"`` on.
        data: CIFAR-10 by default, ten examples a class.
        seed: of the weights and the examples.
    """
    depths, width = at(scale, (20,), (32, 50, 104), (32, 50, 104)), at(scale, 0.25, 2.0, 2.0)
    sparsities = at(scale, (0.9,), (0.9, 0.95, 0.98, 0.995, 0.999), (0.9, 0.95, 0.98, 0.995, 0.999))
    splits = load(scale, data, "cifar10")
    batch, rounds = examples_per_class(*splits.train, at(scale, 2, 10, 10), seed), at(scale, 5, 100, 100)
    rows: list[Row] = []
    activations = at(scale, ("relu",), ("relu", "tanh"), ("relu", "tanh"))
    for depth, activation, method in product(depths, activations, _METHODS):
        if method == "SynFlow" and activation != activations[0]:
            continue
        resnet = getattr(models, f"resnet{depth}")
        build = partial(resnet, 10, batch[0].shape[1], width=width, activation=activation)
        for sparsity, mask, least in _masks(method, build, batch, sparsities, rounds, seed):
            rows.append(
                {"depth": depth, "activation": activation, "method": method, "sparsity": sparsity}
                | {"critical_sparsity": least, "dead_layers": len(dead_layers(mask))}
                | {"kept": [layer.connectivity for layer in mask.layers()]}
            )
    settings: dict[str, Any] = {
        "width": width,
        "batch": len(batch[0]),
        "rounds": rounds,
        "seed": seed,
        "data": splits.name,
    }
    return Outcome("fig2", scale, settings, rows, _draw(rows, min(sparsities, key=lambda s: abs(s - _SHOWN))))


def _masks(
    method: str,
    build: Callable[..., nn.Module],
    batch: tuple[Tensor, Tensor],
    sparsities: Sequence[float],
    rounds: int,
    seed: int,
) -> Iterator[tuple[float, Mask, float | None]]:
    """For each sparsity the mask, and the critical sparsity of the scores where there is one set of them."""
    score, stable = _METHODS[method]
    torch.manual_seed(seed)
    model = build(stable=stable)
    if score is None:
        for sparsity in sparsities:
            yield (
                sparsity,
                prune(copy.deepcopy(model), sparsity, "synflow", batch, rounds=rounds, on_collapse="allow"),
                None,
            )
        return
    scores = score(model, batch, functional.cross_entropy)
    total, least = sum(tensor.numel() for tensor in scores.values()), critical_sparsity(scores, seed=seed)
    for sparsity in sparsities:
        yield sparsity, Mask(select(scores, keep_count(total, sparsity), seed=seed)), least


def _draw(rows: list[Row], sparsity: float) -> Figure:
    cases = [(a, d) for a in spread_out(rows, "activation") for d in spread_out(rows, "depth")]
    figure, panels = canvas([f"ResNet{d}, {a}, {sparsity:.1%} pruned" for a, d in cases], width=4.4)
    for panel, (activation, depth) in zip(panels, cases, strict=True):
        for i, method in enumerate(_METHODS):
            chosen = (depth, activation, method, sparsity)
            for row in rows:
                if (row["depth"], row["activation"], row["method"], row["sparsity"]) == chosen:
                    kept = [100 * share or float("nan") for share in row["kept"]]
                    panel.plot(range(1, len(kept) + 1), kept, color=LIGHT[f"series-{i + 1}"], linewidth=1, label=method)
        panel.set_yscale("log")
        panel.set_xlabel("layer")
    panels[0].set_ylabel("weights kept (%)")
    panels[0].legend(frameon=False)
    return figure
