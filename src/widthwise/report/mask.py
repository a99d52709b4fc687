"""A mask as a picture: what each layer keeps, and each unit of it (Figure 1 of the robust-pruning paper)."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

from widthwise.masks import Mask

__all__ = ["mask_figure"]

_BINS = 100
_ROW = 0.22  # inches a layer


def mask_figure(mask: Mask) -> Figure:
    """Draw a mask: one row a layer, its connectivity as a bar and the fraction kept by each output unit as a strip.

    Args:
        mask: which weights live; layers of more than 100 units are drawn in 100 groups of neighbouring units.
    """
    layers = mask.layers()
    strips = torch.stack([_strip(mask[layer.name]) for layer in layers])
    figure = Figure(figsize=(9, 1.4 + _ROW * len(layers)), layout="constrained")
    bars, units = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
    places = range(len(layers))
    bars.barh(places, [layer.connectivity for layer in layers], color="#1f5fbf")
    for place, layer in enumerate(layers):
        if not layer.kept:
            bars.annotate("dead", (0, place), xytext=(3, 0), textcoords="offset points", va="center", color="#c02020")
    bars.set(xlabel="fraction of weights kept", xscale="log" if _spread(mask) > 20 else "linear")
    bars.set_yticks(places, [layer.name for layer in layers], fontsize=7)
    bars.invert_yaxis()
    image = units.imshow(strips.numpy(), aspect="auto", cmap="viridis", vmin=0, interpolation="nearest")
    units.set(xlabel="output units, first to last", xticks=[])
    figure.colorbar(image, ax=units, label="fraction kept")
    figure.suptitle(f"{mask.kept:,} of {mask.total:,} weights live, sparsity {mask.sparsity:.2%}", fontsize=10)
    return figure


def _strip(alive: Tensor) -> Tensor:
    kept = alive.reshape(len(alive), -1).double().mean(1)
    return functional.interpolate(
        functional.adaptive_avg_pool1d(kept[None, None], min(len(kept), _BINS)), _BINS, mode="nearest"
    )[0, 0]


def _spread(mask: Mask) -> float:
    """How many times more connected the densest layer is than the sparsest living one."""
    living = [layer.connectivity for layer in mask.layers() if layer.kept]
    return max(living) / min(living) if living else 1.0
