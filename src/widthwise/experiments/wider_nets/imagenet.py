"""Table 1 and Figure 13: dense and sparse networks of the same widths, the sparse ones of the narrowest's weights."""

from __future__ import annotations

from typing import Any

from widthwise.errors import InputError
from widthwise.experiments.common import at, canvas
from widthwise.experiments.outcome import Outcome
from widthwise.experiments.wider_nets.drawing import draw_axes, draw_family, outcome_of
from widthwise.experiments.wider_nets.resnet import DENSE, SPARSE, Kind, Point, Runs, runs_of
from widthwise.experiments.wider_nets.verdicts import compared, gain_of_widening
from widthwise.report.style import LIGHT

__all__ = ["fig13", "table1"]

_PRINTED = ((68.03, 69.11, 70.22, 70.91, 71.89), (68.03, 69.56, 70.02, 70.66, 70.53))
"""Top-1 accuracies of the paper's Table 1, %: dense, and sparse of the narrowest's weights."""
_WIDTHS = ((2, 4), (4, 8, 16), (64, 90, 128, 181, 256))


def table1(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Test accuracy of dense networks and of sparse ones that have the narrowest's number of weights.

    At ``"paper"`` weight decay 1e-4, a cosine schedule and 150 epochs, one seed.

    Args:
        scale: the paper's widths at ``"paper"``; below it the same networks as Figures 6 and 7.
        data: ImageNet's images, all of one size, at ``"paper"``; CIFAR-10 stands in for it at ``"small"``, digits at
            ``"smoke"``.
        seed: the first of the seeds.
        seeds: how many.

    Raises:
        InputError: at ``"paper"`` without data.
    """
    runs, points = _trained(scale, data, seed, seeds)
    figure, (panel,) = canvas(["test accuracy (%)"], width=5.6, height=3.8)
    dense, sparse = _rows(points)
    draw_family(panel, dense, 0, label="dense")
    draw_family(panel, sparse, 1, label=f"sparse, {dense[0].weights:,} weights")
    if scale == "paper":
        for i, accuracies in enumerate(_PRINTED):
            panel.plot(_WIDTHS[-1], accuracies, "D", mfc="none", color=LIGHT[f"series-{i}"])
    draw_axes(panel, "width", "test")
    notes = [gain_of_widening(dense), gain_of_widening(sparse)]
    notes += [compared(f"width {s.width}, against dense", s, d) for s, d in zip(sparse[1:], dense[1:], strict=True)]
    return outcome_of("table1", scale, runs, points, figure, notes)


def fig13(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """The gain in test accuracy over the narrowest network, with its weights or with more; as :func:`table1`."""
    runs, points = _trained(scale, data, seed, seeds)
    dense, sparse = _rows(points)
    figure, (panel,) = canvas(["gain in test accuracy (points)"], width=5.6, height=3.8)
    for i, (line, label) in enumerate(((dense, "more weights"), (sparse, "the same weights"))):
        draw_family(panel, [_over(p, line[0]) for p in line], i, label=label)
    draw_axes(panel, "width", "test")
    panel.set_ylabel("gain (points)")
    return outcome_of("fig13", scale, runs, points, figure, [gain_of_widening(dense), gain_of_widening(sparse)])


def _trained(scale: str, data: Any, seed: int, seeds: int | None) -> tuple[Runs, list[Point]]:
    widths = at(scale, *_WIDTHS)
    if scale == "paper" and data is None:
        raise InputError("data: got none, allowed is the path of ImageNet's images, all of one size")
    if scale == "paper":
        runs = runs_of(scale, data, seed, seeds or 1, epochs=150, batch=256, milestones=None, weight_decay=1e-4)
    else:
        runs = runs_of(scale, data, seed, seeds)
    kinds: list[Kind] = [(DENSE, width, width) for width in widths]
    return runs, runs.points([*kinds, *((SPARSE, widths[0], width) for width in widths[1:])])


def _rows(points: list[Point]) -> tuple[list[Point], list[Point]]:
    """The dense networks, and the narrowest with the sparse ones, each by width."""
    dense = [p for p in points if p.method == DENSE]
    return dense, [dense[0], *(p for p in points if p.method == SPARSE)]


def _over(point: Point, base: Point) -> Point:
    gains = tuple(a - b for a, b in zip(point.test, base.test, strict=True))
    return Point(**{**vars(point), "test": gains})
