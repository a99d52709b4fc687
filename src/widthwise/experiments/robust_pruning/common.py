"""What the experiments share: their data, their initialization, their look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from widthwise import data as datasets
from widthwise.data import Splits
from widthwise.errors import check_choice
from widthwise.experiments.outcome import SCALES
from widthwise.report.style import RC

__all__ = ["at", "canvas", "gaussian_", "load", "spread_out", "thin"]

T = TypeVar("T")


def at(scale: str, smoke: T, small: T, paper: T) -> T:
    """The setting of a scale.

    Raises:
        InputError: for an unknown scale.
    """
    check_choice("scale", scale, SCALES)
    return {"smoke": smoke, "small": small, "paper": paper}[scale]


def load(scale: str, data: Any, otherwise: str) -> Splits:
    """The data set, standardised by one mean and one deviation, no part of it held back.

    Args:
        scale: at ``"smoke"`` scikit-learn's digits stand in for it.
        data: what :func:`widthwise.data.load` takes; ``None`` for the paper's set.
        otherwise: that set's name.
    """
    name = at(scale, "digits", otherwise, otherwise) if data is None else data
    return datasets.split(datasets.load(name), validation=0.0)


def gaussian_(model: nn.Module, sigma_w: float, sigma_b: float, seed: int) -> nn.Module:
    """Draw weights from N(0, sigma_w^2 / fan_in) and biases from N(0, sigma_b^2), on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                std = sigma_w * module.weight[0].numel() ** -0.5
                module.weight.normal_(0, std, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, sigma_b, generator=generator)
    return model


def thin(pair: tuple[Tensor, Tensor], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """``count`` examples at random, or all where there are no more."""
    chosen = torch.randperm(len(pair[0]), generator=torch.Generator().manual_seed(seed))[:count]
    return pair[0][chosen], pair[1][chosen]


def spread_out(rows: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """The different values of a key, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


@mpl.rc_context(RC)
def canvas(
    titles: Sequence[str], *, columns: int = 3, width: float = 3.4, height: float = 2.8
) -> tuple[Figure, list[Axes]]:
    """A figure with one titled panel for each of ``titles``."""
    columns = min(columns, len(titles))
    lines = -(-len(titles) // columns)
    figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
    panels = [figure.add_subplot(lines, columns, i) for i in range(1, len(titles) + 1)]
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, loc="left")
    return figure, panels
