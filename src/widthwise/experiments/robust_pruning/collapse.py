"""Where layers die: Figure 1, and the critical sparsity against Theorem 1's bound."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from widthwise.experiments.common import at, canvas, load, seeded, spread_out, thin
from widthwise.experiments.outcome import Outcome, Row
from widthwise.init import gaussian_
from widthwise.meanfield import edge_of_chaos
from widthwise.models import mlp
from widthwise.pruning import critical_sparsity
from widthwise.pruning.allocation import keep_count
from widthwise.pruning.scores import snip
from widthwise.pruning.selection import select
from widthwise.pruning.theory import critical_sparsity_bound
from widthwise.report.style import LIGHT

__all__ = ["critical", "fig1"]

_PHASES = {"ordered": (0.8, 0.1), "edge of chaos": (1.0, 0.0), "chaotic": (1.5, 0.1)}


def fig1(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Figure 1: the fraction of its weights that each neuron keeps after SNIP, in three phases of a deep tanh network.

    Args:
        scale: 100 layers of width 100 at ``"small"`` and ``"paper"``.
        data: MNIST by default.
        seed: of weights and batch.
    """
    depth, width, sparsity = at(scale, 12, 100, 100), at(scale, 20, 100, 100), 0.7
    batch = thin(load(scale, data, "mnist").train, 100, seed)
    kept: dict[str, Tensor] = {}
    rows: list[Row] = []
    for phase, (sigma_w, sigma_b) in _PHASES.items():
        scores = _scores(batch, depth, width, sigma_w, sigma_b, seed)
        total = sum(score.numel() for score in scores.values())
        masks = list(select(scores, keep_count(total, sparsity)).values())
        kept[phase] = torch.stack([mask.float().mean(1) for mask in masks[:-1]])
        least = critical_sparsity(scores)
        for layer, mask in enumerate(masks, 1):
            share = mask.float().mean(1)
            rows.append(
                {"phase": phase, "sigma_w": sigma_w, "sigma_b": sigma_b, "critical_sparsity": least, "layer": layer}
                | {"kept": float(mask.float().mean()), "least_neuron": float(share.min())}
                | {"most_neuron": float(share.max())}
            )
    settings: dict[str, Any] = {
        "depth": depth,
        "width": width,
        "sparsity": sparsity,
        "activation": "tanh",
        "batch": 100,
        "seed": seed,
    }
    return Outcome("fig1", scale, settings, rows, _draw_neurons(kept))


def critical(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """E[s_cr] of SNIP over the phases of tanh networks of several depths, beside Theorem 1's bound.

    Args:
        scale: ten simulations a point at ``"small"``.
        data: MNIST by default.
        seed: of the first simulation.
    """
    depths, width = at(scale, (10,), (20, 50, 100), (20, 50, 100, 200)), at(scale, 16, 100, 100)
    simulations, sigma_b = at(scale, 2, 10, 50), 0.3
    edge = edge_of_chaos("tanh", sigma_b)[0]
    some = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
    factors = at(scale, (0.4, 1.0, 1.6), some, tuple(0.1 * i for i in range(1, 26)))
    splits = load(scale, data, "mnist")
    rows: list[Row] = []
    for depth in depths:
        for factor in factors:
            found = [
                critical_sparsity(_scores(thin(splits.train, 100, s), depth, width, factor * edge, sigma_b, s))
                for s in range(seed, seed + simulations)
            ]
            bound = critical_sparsity_bound("tanh", factor * edge, sigma_b, depth=depth, width=width)
            mean = math.fsum(found) / simulations
            spread = math.sqrt(math.fsum((s - mean) ** 2 for s in found) / max(simulations - 1, 1))
            rows.append(
                {"depth": depth, "sigma_w": factor * edge, "chi": bound.chi, "kappa": bound.kappa}
                | {"bound": bound.value, "mean": mean, "deviation": spread, "simulations": simulations}
            )
    settings: dict[str, Any] = {
        "width": width,
        "sigma_b": sigma_b,
        "edge": edge,
        "activation": "tanh",
        "batch": 100,
        "seed": seed,
    }
    return Outcome("critical", scale, settings, rows, _draw_bound(rows), ["The bound uses the natural logarithm."])


def _scores(
    batch: tuple[Tensor, Tensor], depth: int, width: int, sigma_w: float, sigma_b: float, seed: int
) -> dict[str, Tensor]:
    """SNIP scores of a tanh network of ``depth`` layers, the last of them linear."""
    x, y = batch
    model = mlp(x[0].numel(), 10, width=width, depth=depth - 1, activation="tanh").double()
    return snip(gaussian_(model, sigma_w, sigma_b, generator=seeded(seed)), (x.double(), y), functional.cross_entropy)


def _draw_neurons(kept: dict[str, Tensor]) -> Figure:
    figure, panels = canvas(list(kept))
    for panel, image in zip(panels, kept.values(), strict=True):
        drawn = panel.imshow(image.numpy(), vmin=0, vmax=1, aspect="auto", interpolation="none")
        panel.set_xlabel("neuron")
        panel.grid(visible=False)
    panels[0].set_ylabel("layer")
    figure.colorbar(drawn, ax=panels, label="fraction of incoming weights kept")
    return figure


def _draw_bound(rows: list[Row]) -> Figure:
    depths = spread_out(rows, "depth")
    figure, panels = canvas([f"{depth} layers" for depth in depths])
    for panel, depth in zip(panels, depths, strict=True):
        mine = [row for row in rows if row["depth"] == depth]
        chi = [row["chi"] for row in mine]
        means, deviations = [row["mean"] for row in mine], [row["deviation"] for row in mine]
        panel.errorbar(chi, means, deviations, marker="o", color=LIGHT["series-1"], label="measured")
        ordered = [row for row in mine if row["bound"] is not None]
        bounds = [min(1.0, row["bound"]) for row in ordered]
        panel.plot([row["chi"] for row in ordered], bounds, "--", color=LIGHT["series-2"], label="bound of Theorem 1")
        panel.axvline(1, color=LIGHT["faint"])
        panel.set_xlabel("χ")
        panel.set_ylim(0, 1.03)
    panels[0].set_ylabel("critical sparsity")
    panels[0].legend(frameon=False)
    return figure
