"""Names at the ends of lines, beside the plot, that never overlap."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from widthwise.report.style import FAINT

__all__ = ["LONGEST", "apart", "label_ends"]

LONGEST = 20  # characters of a label
_LINE = 16  # its height in units of the figure


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name lines at the right edge, moved apart where they would overlap, tied to the line's end by a hair.

    Args:
        axes: with its limits already set.
        ends: for each line the x and y of its end, its name and its colour.
    """
    low, high = axes.get_ylim()
    places = [(x, min(max(y, low), high)) for x, y, _, _ in ends]
    to_axes, edge = axes.transScale + axes.transLimits, 1 + 10 / axes.bbox.width
    goals = apart([float(to_axes.transform(place)[1]) for place in places], _LINE / axes.bbox.height)
    hair = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 6, "relpos": (0, 0.5)}
    for (_, _, name, colour), place, goal in zip(ends, places, goals, strict=True):
        axes.annotate(
            name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…",
            place,
            xytext=(edge, goal),
            textcoords="axes fraction",
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops=hair,
        )


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places near the wanted ones, in their order, at least ``gap`` from each other.

    Labels that would touch form a group, whose middle stands at the mean of what its members want; that is the
    least-squares solution.

    >>> [round(v, 2) for v in apart([0.5, 0.5, 0.9], 0.2)]
    [0.4, 0.6, 0.9]
    """

    def start(group: list[int]) -> float:
        return sum(wanted[i] for i in group) / len(group) - gap * (len(group) - 1) / 2

    groups: list[list[int]] = []
    for i in sorted(range(len(wanted)), key=lambda i: wanted[i]):
        groups.append([i])
        while len(groups) > 1 and start(groups[-1]) < start(groups[-2]) + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    placed = {i: start(group) + gap * step for group in groups for step, i in enumerate(group)}
    return [placed[i] for i in range(len(wanted))]
