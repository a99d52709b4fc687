"""How the weights of wide networks are shared out among their layers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from widthwise.errors import InputError
from widthwise.report.style import LIGHT, RC
from widthwise.widening import Plan

__all__ = ["distribution"]

_SERIES = 6


@mpl.rc_context(RC)
def distribution(plans: Sequence[Plan]) -> Figure:
    """Weights of each layer above, its connectivity below: the wider-nets paper's Figures 4 and 10 for any network.

    The thin steps are the layers of the widest network with all its weights.

    Args:
        plans: from :func:`widthwise.widening.plan`, of networks of the same layers, such as one factory's.

    Raises:
        InputError: if there is none, or their layers differ.
    """
    names = [layer.name for layer in plans[0].layers] if plans else []
    if not names or any([layer.name for layer in one.layers] != names for one in plans):
        raise InputError(
            f"plans: got {len(plans)} of {'different' if plans else 'no'} layers, allowed are plans of the same"
        )
    figure = Figure(figsize=(8, 6), layout="constrained")
    top, foot = figure.subplots(2, 1, sharex=True)
    places = range(1, len(names) + 1)
    widest = max(plans, key=lambda one: one.width)
    top.step(places, [x.total for x in widest.layers], where="mid", color=LIGHT["faint"], linewidth=1)
    for i, one in enumerate(plans):
        look = {
            "color": LIGHT[f"series-{i % _SERIES}"],
            "marker": "os^Dvp"[i % _SERIES],
            "markersize": 4,
            "linewidth": 1,
        }
        top.plot(
            places, [x.kept for x in one.layers], label=f"width {one.width}, {one.method.replace('_', ' ')}", **look
        )
        foot.plot(places, [100 * x.connectivity for x in one.layers], **look)
    for axes, title in ((top, "weights of each layer"), (foot, "connectivity (%)")):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.set_title(title)
    top.legend(frameon=False, fontsize=9)
    foot.set_xticks(places, [name.removesuffix(".weight") for name in names], rotation=90, fontsize=8)
    return figure
