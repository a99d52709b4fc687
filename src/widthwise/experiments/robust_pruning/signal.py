"""What pruning does to the signal of a deep network, and what each way of rescaling makes of it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional

from widthwise.experiments.common import at, canvas, load, seeded, spread_out, thin
from widthwise.experiments.outcome import Outcome, Row
from widthwise.init import gaussian_
from widthwise.masks import Mask
from widthwise.meanfield import edge_of_chaos
from widthwise.models import mlp
from widthwise.pruning import prune
from widthwise.pruning.rescale import rescale
from widthwise.report.style import LIGHT

__all__ = ["signal"]

_COLOURS = {"none": "series-0", "as printed": "series-2", "closed": "series-3", "measured": "series-1"}


def signal(scale: str = "smoke", data: Any = None, seed: int = 0) -> Outcome:
    """Mean squared pre-activation by layer: pruned networks on the edge of chaos, under every rule of rescaling.

    ``as printed`` is Algorithm 1 of the paper, without the factor sigma_w. Growth is the factor a
    layer from the first layer to the last hidden one.

    Args:
        scale: depth 40 and width 200 at ``"small"``.
        data: MNIST by default.
        seed: of weights and masks.
    """
    depth, width, sparsity = at(scale, 6, 40, 40), at(scale, 20, 200, 200), 0.8
    batch = thin(load(scale, data, "mnist").train, 500, seed)
    rows: list[Row] = []
    for activation in ("relu", "tanh"):
        sigma_w, _ = edge_of_chaos(activation, 0.0)
        for method in ("random", "magnitude", "snip"):
            model = mlp(batch[0][0].numel(), 10, width=width, depth=depth, activation=activation)
            gaussian_(model, sigma_w, generator=seeded(seed))
            mask = prune(model, sparsity, method, batch, functional.cross_entropy)
            for rule in _COLOURS:
                found = _variances(_rescaled(model, mask, rule, batch), batch[0])
                growth = (found[-2] / found[0]) ** (1 / (depth - 1))
                about = {"activation": activation, "method": method, "rule": rule}
                rows.append(about | {"growth": growth, "variance": found})
    settings: dict[str, Any] = {"depth": depth, "width": width, "sparsity": sparsity, "batch": 500, "seed": seed}
    return Outcome("signal", scale, settings, rows, _draw(rows))


def _rescaled(model: nn.Module, mask: Mask, rule: str, batch: tuple[Tensor, Tensor]) -> nn.Module:
    model = copy.deepcopy(model)
    if rule == "as printed":
        rescale(model, mask, sigma_w=1.0)
    elif rule != "none":
        rescale(model, mask, rule=rule, data=batch)
    return model


@torch.no_grad()
def _variances(model: nn.Module, x: Tensor) -> list[float]:
    """Mean squared pre-activation of each layer, over units that have weights."""
    found = []
    for layer in model.children():
        x = layer(x)
        if isinstance(layer, nn.Linear):
            found.append(float(x[:, layer.weight.any(1)].square().mean()))
    return found


def _draw(rows: list[Row]) -> Figure:
    cases = [(a, m) for a in spread_out(rows, "activation") for m in spread_out(rows, "method")]
    figure, panels = canvas([f"{activation}, {method}" for activation, method in cases])
    for panel, case in zip(panels, cases, strict=True):
        for rule, colour in _COLOURS.items():
            for row in rows:
                if (row["activation"], row["method"], row["rule"]) == (*case, rule):
                    found = row["variance"]
                    panel.plot(range(1, len(found) + 1), found, color=LIGHT[colour], label=rule)
        panel.set_yscale("log")
        panel.set_ylim(1e-8, 1e8)
    panels[0].legend(frameon=False)
    panels[0].set_ylabel("mean squared pre-activation")
    panels[-2].set_xlabel("layer")
    return figure
