"""ResNet-18 at a constant number of weights: Figures 1, 3, 6, 7, 9, 11, 12 and 14, columns of the same runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from widthwise.experiments.common import at, canvas
from widthwise.experiments.outcome import Outcome
from widthwise.experiments.wider_nets.drawing import LABELS, draw_axes, draw_family, outcome_of
from widthwise.experiments.wider_nets.resnet import DENSE, IO, LINEAR, NONLINEAR, SPARSE, Kind, Point, Runs, runs_of
from widthwise.experiments.wider_nets.verdicts import compared, gain_of_widening, shares_of_width
from widthwise.report.style import LIGHT

__all__ = ["fig1", "fig3", "fig6", "fig7", "fig9", "fig11", "fig12", "fig14"]

_FACTORS = (2, 4, 8, 16)


def _bases(scale: str) -> tuple[int, ...]:
    return at(scale, (2,), (4, 6, 8), (8, 12, 18, 40, 64))


def _widths(scale: str, base: int) -> tuple[int, ...]:
    return tuple(
        base * factor for factor in at(scale, (2,), (2, 4), _FACTORS) if base * factor <= at(scale, 4, 16, 1024)
    )


def fig1(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Test accuracy against width at one number of weights.

    ResNet-18, its width that of its first convolution, made sparse at random to the weights of the narrowest; SGD of
    momentum 0.9, weight decay 5e-4, rate 0.1 which falls to a tenth thrice at ``"paper"``, twice at ``"small"``; the
    best accuracy of all epochs, as in the paper.

    Args:
        scale: the paper's widths, 300 epochs and whole images at ``"paper"``; at ``"small"`` narrow networks, 2560
            images averaged to 16 x 16, and 8 epochs.
        data: CIFAR-10 by default; digits at ``"smoke"``.
        seed: the first of the seeds.
        seeds: how many; three by default.
    """
    base = at(scale, 2, 4, 18)
    return _sparse_figure("fig1", scale, runs_of(scale, data, seed, seeds), (base,), bars=True)


def fig6(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Best test accuracy against width at several numbers of weights; arguments as of :func:`fig1`."""
    return _sparse_figure("fig6", scale, runs_of(scale, data, seed, seeds), _bases(scale))


def fig11(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 6 with its spread over seeds; arguments as of :func:`fig1`."""
    return _sparse_figure("fig11", scale, runs_of(scale, data, seed, seeds), _bases(scale), bars=True)


def fig12(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Figure 6 against connectivity; arguments as of :func:`fig1`."""
    return _sparse_figure("fig12", scale, runs_of(scale, data, seed, seeds), _bases(scale), x="connectivity", bars=True)


def fig14(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Training accuracy of the same networks against connectivity; arguments as of :func:`fig1`."""
    runs = runs_of(scale, data, seed, seeds)
    return _sparse_figure("fig14", scale, runs, _bases(scale), x="connectivity", y="train", bars=True)


def fig3(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Best test accuracy against width with linear (a) and non-linear (b) bottlenecks, the unchanged network dashed.

    The narrowest network with linear bottlenecks has each layer split at full rank, and so more weights than the dense
    one of its width; that number is kept. Arguments as of :func:`fig1`.
    """
    runs, bases = runs_of(scale, data, seed, seeds), _bases(scale)
    kinds: list[Kind] = [(DENSE, base, base) for base in bases]
    kinds += [(LINEAR, base, width) for base in bases for width in (base, *_widths(scale, base))]
    kinds += [(NONLINEAR, base, width) for base in bases for width in _widths(scale, base)]
    points = runs.points(kinds)
    titles = ("(a) linear bottleneck", "(b) non-linear bottleneck")
    figure, panels = canvas(titles, width=4.6, height=3.4)
    for panel, method in zip(panels, (LINEAR, NONLINEAR), strict=True):
        for i, base in enumerate(bases):
            dense = _of(points, DENSE, base)
            line = [*([] if method == LINEAR else dense), *_of(points, method, base)]
            draw_family(panel, line, i, "width", "test", bars=True, label=f"{line[0].weights:,} weights")
            panel.axhline(100 * dense[0].mean, color=LIGHT[f"series-{i % 6}"], linestyle=(0, (4, 3)), linewidth=1)
        draw_axes(panel, "width", "test")
    notes = []
    for base in bases:
        dense, line = _of(points, DENSE, base), _of(points, LINEAR, base)
        notes += [compared("split at full rank", line[0], dense[0]), gain_of_widening(line)]
        notes.append(gain_of_widening([*dense, *_of(points, NONLINEAR, base)]))
    return outcome_of("fig3", scale, runs, points, figure, notes)


def fig7(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """The share of the gain that width alone brings, (sparse - base) / (dense - base), and the training accuracy.

    Arguments as of :func:`fig1`.
    """
    runs, bases = runs_of(scale, data, seed, seeds), _bases(scale)
    points = runs.points([*_sparse_kinds(scale, bases), *((DENSE, w, w) for b in bases for w in _widths(scale, b))])
    shares = {base: shares_of_width(_family(points, base), points) for base in bases}
    figure, panels = canvas([f"{_of(points, DENSE, base)[0].weights:,} weights" for base in bases])
    for panel, base in zip(panels, bases, strict=True):
        found = [share for share in shares[base] if share.sure]
        panel.errorbar(
            [s.width for s in found], [s.mean for s in found], [s.half for s in found], fmt="^-", color=LIGHT["ink"]
        )
        panel.axhline(1, color=LIGHT["faint"], linewidth=1)
        trained = panel.twinx()
        line = _family(points, base)
        trained.plot([p.width for p in line], [100 * fmean(p.train) for p in line], "o-", color=LIGHT["series-2"])
        trained.set_ylabel("training accuracy (%)", color=LIGHT["series-2"])
        draw_axes(panel, "width", "test")
        panel.set_ylabel("share of the gain due to width")
    notes = [share.note for base in bases for share in shares[base]]
    known = {(SPARSE, base, share.width): share for base in bases for share in shares[base]}
    more = [
        {"share": share and share.mean, "share_half_width": share and share.half}
        for share in (known.get((p.method, p.base, p.width)) for p in points)
    ]
    return outcome_of("fig7", scale, runs, points, figure, notes, more)


def fig9(scale: str = "smoke", data: Any = None, seed: int = 0, seeds: int | None = None) -> Outcome:
    """Weights removed one by one against whole kernels from channel to channel; arguments as of :func:`fig1`."""
    runs, bases = runs_of(scale, data, seed, seeds), at(scale, (2,), (4, 6, 8), (8, 12, 18))
    points = runs.points(
        [*_sparse_kinds(scale, bases), *((IO, base, width) for base in bases for width in _widths(scale, base))]
    )
    figure, (panel,) = canvas([LABELS["test"]], width=5.6, height=3.8)
    for i, base in enumerate(bases):
        whole = [_of(points, DENSE, base)[0], *_of(points, IO, base)]
        draw_family(panel, _family(points, base), i, "width", "test", bars=True)
        draw_family(panel, whole, i, "width", "test", bars=True, label="whole kernels", dashed=True)
    draw_axes(panel, "width", "test")
    pairs = [(p, q) for base in bases for p in _of(points, SPARSE, base) for q in _of(points, IO, base)]
    notes = [compared("whole kernels", q, p) for p, q in pairs if p.width == q.width]
    return outcome_of("fig9", scale, runs, points, figure, notes)


def _sparse_figure(
    name: str, scale: str, runs: Runs, bases: Sequence[int], *, x: str = "width", y: str = "test", bars: bool = False
) -> Outcome:
    points = runs.points(_sparse_kinds(scale, bases))
    figure, (panel,) = canvas([LABELS[y]], width=5.6, height=3.8)
    for i, base in enumerate(bases):
        draw_family(panel, _family(points, base), i, x, y, bars=bars)
    draw_axes(panel, x, y)
    return outcome_of(name, scale, runs, points, figure, [gain_of_widening(_family(points, b), y) for b in bases])


def _sparse_kinds(scale: str, bases: Iterable[int]) -> list[Kind]:
    return [
        kind
        for base in bases
        for kind in ((DENSE, base, base), *((SPARSE, base, width) for width in _widths(scale, base)))
    ]


def _family(points: Sequence[Point], base: int) -> list[Point]:
    """The dense network and the sparse ones of as many weights."""
    return [*(p for p in _of(points, DENSE, base)), *_of(points, SPARSE, base)]


def _of(points: Sequence[Point], method: str, base: int) -> list[Point]:
    return [p for p in points if (p.method, p.base) == (method, base)]
