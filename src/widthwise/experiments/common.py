"""What the experiments share: their settings, their data, their look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from widthwise import data as datasets
from widthwise.data import Splits
from widthwise.errors import InputTypeError, check_choice
from widthwise.experiments.outcome import SCALES
from widthwise.report.style import RC

__all__ = ["at", "canvas", "load", "path_only", "seeded", "spread_out", "thin"]

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


def path_only(data: Any) -> str | None:
    """``data`` as the text of a path, so that what was done with it can be found again.

    Raises:
        InputTypeError: for anything else.
    """
    if data is None or isinstance(data, str | Path):
        return None if data is None else str(data)
    raise InputTypeError(f"data: got {type(data).__name__}, allowed is the path of a file or of a folder")


def seeded(seed: int) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def thin(pair: tuple[Tensor, Tensor], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """``count`` examples at random, or all where there are no more."""
    chosen = torch.randperm(len(pair[0]), generator=seeded(seed))[:count]
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
