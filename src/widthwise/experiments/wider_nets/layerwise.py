"""Which layers lose how many weights: Figures 4 and 10; no network is trained."""

from __future__ import annotations

from typing import Any

from widthwise.experiments.common import at, canvas
from widthwise.experiments.outcome import Outcome, Row
from widthwise.models import resnet18
from widthwise.pruning.allocation import balanced
from widthwise.report.distribution import distribution
from widthwise.report.style import LIGHT
from widthwise.weights import prunable
from widthwise.widening import plan
from widthwise.widening.counting import skeleton

__all__ = ["fig4", "fig10"]


def fig4(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """The distribution of removed weights over layers: the largest is cut to the next, then both, and so on.

    Args:
        scale: a ResNet-18 of width 4, 8 or 64.
        seed: not needed; nothing is drawn.
    """
    width = at(scale, 4, 8, 64)
    sizes = {name: w.numel() for name, w in prunable(skeleton(lambda w: resnet18(width=w), width)).items()}
    order = sorted(sizes, key=sizes.__getitem__, reverse=True)
    shares = (1.0, 0.6, 0.3, 0.1, 0.02)
    kept = {share: balanced(sizes, round(share * sum(sizes.values()))) for share in shares}
    rows: list[Row] = [
        {"layer": name, "weights": sizes[name], **{f"kept_of_{share:g}": kept[share][name] for share in shares[1:]}}
        for name in order
    ]
    figure, (panel,) = canvas(["weights that each layer keeps, largest layer first"], width=7, height=4)
    for i, share in enumerate(shares):
        values = [kept[share][name] for name in order]
        colour = LIGHT["grid"] if share == 1 else LIGHT[f"series-{i}"]
        panel.bar(range(1, len(order) + 1), values, color=colour, width=0.92, label=f"{share:.0%} of all weights")
    panel.set_xlabel("layer, by size")
    panel.legend(frameon=False, fontsize=9)
    cut = {share: sum(kept[share][name] < sizes[name] for name in order) for share in shares[1:]}
    notes = [
        f"{share:.0%} of {sum(sizes.values()):,} weights: {n} of {len(order)} layers are cut."
        for share, n in cut.items()
    ]
    return Outcome("fig4", scale, {"width": width, "network": "ResNet-18"}, rows, figure, notes)


def fig10(scale: str = "smoke", _data: Any = None, seed: int = 0) -> Outcome:
    """Weights and connectivity of each layer of ResNet-18, 100 classes, 1.8e5 weights, at several widths.

    Args:
        scale: widths up to 16 from 8, or to 128 as in the paper.
        seed: not needed: the numbers of weights are not random.
    """
    factors = at(scale, (2,), (1, 2, 4, 8, 16), (1, 2, 4, 8, 16))
    plans = [plan(lambda width: resnet18(100, width=width), 8, factor) for factor in factors]
    rows: list[Row] = [
        {"width": one.width, "layer": x.name, "weights": x.total, "kept": x.kept, "connectivity": x.connectivity}
        for one in plans
        for x in one.layers
    ]
    last = plans[-1]
    least, most = (f(last.layers, key=lambda x: x.connectivity) for f in (min, max))
    notes = [
        f"Width {last.width}, {last.weights:,} weights: from {least.connectivity:.2%} ({least.name}) to "
        f"{most.connectivity:.0%} ({most.name}); {last.connectivity:.2%} of all."
    ]
    return Outcome("fig10", scale, {"budget": last.budget, "network": "ResNet-18"}, rows, distribution(plans), notes)
