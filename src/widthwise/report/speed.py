"""What sparsity would gain in time, as a table, as rows, and as a plot with the break-even."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from rich import box
from rich.table import Table
from rich.text import Text

from widthwise.report.style import FAINT, INK, LIGHT, MUTED, RC
from widthwise.sparse.measure import WHOLE, Speed, break_even

__all__ = ["WORKS", "speed_csv", "speed_figure", "speed_table"]

WORKS = ("forward", "step")
_CAPTION = """\
Times as fast as dense and masked, medians.
Break-even: the sparsity from which on sparse is faster.
The model keeps layers dense where that is faster."""


def speed_table(speeds: Sequence[Speed]) -> Table:
    """How many times as fast each layer and the model would be, and from which sparsity on it gains at all."""
    sparsities = sorted({speed.sparsity for speed in speeds})
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, caption=_CAPTION, caption_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("work")
    for heading in (*(f"{sparsity:.6g}" for sparsity in sparsities), "break-even"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, work, own in _lines(speeds):
        at = {speed.sparsity: speed for speed in own}
        cells = [_times(at.get(sparsity)) for sparsity in sparsities]
        table.add_row(Text(name), work, *cells, _limit(own), style="bold" if name == WHOLE else "")
    return table


def speed_csv(speeds: Sequence[Speed]) -> str:
    """One line for each measurement, times in seconds."""
    fields = list(Speed.__dataclass_fields__)
    rows = [",".join(_cell(value) for value in asdict(speed).values()) for speed in speeds]
    return "\n".join([",".join(fields), *rows]) + "\n"


@mpl.rc_context(RC)
def speed_figure(speeds: Sequence[Speed]) -> Figure:
    """Speed against sparsity, forward and step: layers thin, the whole model thick, its break-even marked."""
    works = [work for work in WORKS if any(speed.work == work for speed in speeds)]
    figure = Figure(figsize=(1 + 4.2 * len(works), 4.4), layout="constrained")
    panels = figure.subplots(1, len(works), sharey=True, squeeze=False)[0]
    for axes, work in zip(panels, works, strict=True):
        _panel(axes, work, [(name, own) for name, does, own in _lines(speeds) if does == work])
    panels[0].set_ylabel("times as fast as dense")
    return figure


def _panel(axes: Axes, work: str, lines: Sequence[tuple[str, list[Speed]]]) -> None:
    ticks = sorted({1 - speed.sparsity for _, own in lines for speed in own})
    axes.set(xscale="log", yscale="log", xlabel="sparsity", title=work)
    axes.axhline(1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for name, own in lines:
        places = [1 - speed.sparsity for speed in own]
        if name != WHOLE:
            axes.plot(places, [s.ratio for s in own], color=FAINT, linewidth=1, marker=".", label="a layer")
            continue
        axes.plot(
            places, [s.ratio for s in own], color=LIGHT["series-1"], marker="o", label="the whole model", zorder=3
        )
        lows, highs = [s.low for s in own], [s.high for s in own]
        if len(own) > 1:
            axes.fill_between(places, lows, highs, color=LIGHT["series-1"], alpha=0.15, linewidth=0)
        else:  # an area needs two places
            axes.vlines(places, lows, highs, color=LIGHT["series-1"], alpha=0.3)
        limit = break_even(own)
        if limit is not None and limit < 1:
            axes.plot([1 - limit], [1], marker="D", color=INK, linestyle="", label=f"break-even {limit:.0%}", zorder=4)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(ticks, [f"{1 - tick:.4g}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}x")
    axes.invert_xaxis()
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), frameon=False, loc="upper left")


def _lines(speeds: Sequence[Speed]) -> list[tuple[str, str, list[Speed]]]:
    """The measurements of each layer and work, by sparsity, in the order in which layers were measured."""
    names = dict.fromkeys(speed.layer for speed in speeds)
    groups = [(n, w, [s for s in speeds if s.layer == n and s.work == w]) for n in names for w in WORKS]
    return [(name, work, sorted(own, key=lambda s: s.sparsity)) for name, work, own in groups if own]


def _times(speed: Speed | None) -> str:
    return "" if speed is None else f"{speed.ratio:.2g}x" if speed.ratio < 10 else f"{speed.ratio:.0f}x"


def _limit(own: Sequence[Speed]) -> str:
    limit = break_even(own)
    return "never" if limit is None else "any" if limit == 0 else f"{limit:.0%}"


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f'"{text}"' if "," in text else text
