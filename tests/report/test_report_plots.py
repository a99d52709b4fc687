"""The figures: they draw the numbers, on honest axes, in colours that everyone can tell apart."""

from __future__ import annotations

import itertools
import math

import matplotlib as mpl
import numpy as np
import pytest
import report_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from widthwise.errors import InputError
from widthwise.report import plots
from widthwise.report.gallery import gallery
from widthwise.report.labels import apart
from widthwise.report.style import DARK, LIGHT, styles

DRAW = (plots.accuracy, plots.distance, plots.curves, plots.layers)

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    c = np.array(mpl.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    dark, light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (light + 0.05) / (dark + 0.05)


def oklab(rgb):
    lms = np.cbrt(
        np.array([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
        @ np.clip(rgb, 0, 1)
    )
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    return 100 * np.array(to_lab) @ lms


def drawn(axes, colour):
    """The points of the thick line of one colour."""
    lines = [one for one in axes.lines if one.get_color() == colour and len(one.get_xdata()) > 1]
    return {float(x): float(y) for one in lines for x, y in one.get_xydata()}


@pytest.mark.parametrize("sight", BLINDNESS)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_series_differ_to_every_eye(palette, sight):
    seen = [oklab(BLINDNESS[sight] @ linear(palette[f"series-{i}"])) for i in range(6)]
    usual = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen[:4], 2)]
    every = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(usual) > 8
    assert min(every) > 4


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(palette):
    names = ["ink", "muted", *(f"series-{i}" for i in range(6))]
    assert min(contrast(palette[n], palette[g]) for n in names for g in ("surface", "best")) >= 4.0
    assert min(contrast(palette[n], palette["surface"]) for n in names) >= 4.4


def test_colours_are_distinct_so_that_each_becomes_its_own_variable():
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_accuracy_draws_the_means_and_the_bands():
    comparison = cases.digits()
    (axes,) = plots.accuracy(comparison).axes
    for method in ("dense", "sparse", "magnitude", "snip"):
        want = {r.width: 100 * r.mean for r in comparison.family(method)}
        assert drawn(axes, styles(comparison)[method].colour) == pytest.approx(want)
    sparse = [r for r in comparison.rows if r.method == "sparse"]
    edges = {(round(x), round(y, 6)) for band in axes.collections for p in band.get_paths() for x, y in p.vertices}
    for row in sparse:
        assert {(row.width, round(100 * (row.mean + s * row.spread), 6)) for s in (-1, 1)} <= edges


def test_dense_is_dashed_and_the_width_axis_is_logarithmic():
    (axes,) = plots.accuracy(cases.digits()).axes
    dashed = {one.get_color() for one in axes.lines if one.get_linestyle() == "--"}
    assert dashed == {LIGHT["series-0"]}
    assert axes.get_xscale() == "log"
    assert axes.xaxis.get_transform().base == 2
    assert list(axes.get_xticks()) == [3, 6, 12, 24, 48, 96]


def test_distance_draws_error_and_both_distances():
    comparison = cases.digits()
    top, foot = plots.distance(comparison).axes
    rows = comparison.family("sparse")
    blue, ink = LIGHT["series-1"], LIGHT["ink"]
    assert drawn(top, blue) == pytest.approx({r.width: 100 * (1 - r.mean) for r in rows})
    assert drawn(foot, blue) == pytest.approx({r.width: r.measured for r in rows})
    assert drawn(foot, ink) == pytest.approx({r.width: r.predicted for r in rows})
    assert foot.get_yscale() == "log"


def test_minima_are_ringed():
    comparison = cases.digits()
    top, foot = plots.distance(comparison).axes
    rows = comparison.family("sparse")
    rings = [{float(o.get_xdata()[0]) for o in a.lines if o.get_markersize() == 13} for a in (top, foot)]
    assert rings[0] == {max(rows, key=lambda r: r.mean).width}
    assert rings[1] == {min(rows, key=lambda r: getattr(r, k)).width for k in ("predicted", "measured")}


def test_curves_and_layers_draw_their_rows():
    comparison = cases.digits()
    (axes,) = plots.curves(comparison).axes
    best = comparison.best
    assert drawn(axes, LIGHT["series-3"]) == pytest.approx({e: 100 * v for e, v in best.curve})
    (axes,) = plots.layers(comparison).axes
    want = {i: 100 * p for i, p in enumerate(best.layer_connectivity, 1)}
    assert drawn(axes, LIGHT["series-3"]) == pytest.approx(want)
    assert axes.get_ylim()[0] == 0


def test_diverged_seeds_show():
    comparison = cases.diverged()
    chart = plots.accuracy(comparison)
    (axes,) = chart.axes
    marks = {c.get_gid(): c for c in axes.collections if c.get_gid()}
    crosses = [(gid, texts) for gid, texts in chart.tips.items() if gid.endswith("-3")]
    assert [texts for _, texts in crosses] == [["sparse x16: diverged"]]
    assert marks[crosses[0][0]].get_offsets()[0][0] == 48
    hollow = [tip for tips in chart.tips.values() for tip in tips if "2 of 5 seeds diverged" in tip]
    assert len(hollow) == 1


def test_a_value_beyond_the_axis_is_marked_at_its_edge_and_does_not_flatten_the_rest():
    chart = plots.accuracy(cases.regression())
    (axes,) = chart.axes
    assert axes.get_ylim()[0] > 0
    assert [t for gid, tips in chart.tips.items() if gid.endswith("-1") for t in tips] == [
        "dense x32, width 96, 7,104 weights: −21.380 ± 24.645"
    ]


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("width", [660, 344])
def test_no_text_leaves_the_figure_and_no_labels_overlap(draw, width):
    for make in (cases.diverged, cases.regression, cases.hostile):
        chart = draw(make(), width)
        canvas = FigureCanvasAgg(chart)
        canvas.draw()
        for axes in chart.axes:
            box, frame = axes.get_tightbbox(canvas.get_renderer()), chart.bbox
            assert frame.x0 <= box.x0
            assert box.x1 <= frame.x1
            assert frame.y0 <= box.y0
            assert box.y1 <= frame.y1
            labels = [t for t in axes.texts if isinstance(t, Annotation) and t.arrow_patch is not None]
            places = sorted(t.xyann[1] * axes.bbox.height for t in labels)
            assert all(b - a > 15 for a, b in itertools.pairwise(places))


@pytest.mark.parametrize("make", [cases.one_seed, cases.all_diverged, cases.interrupted, cases.one_row])
def test_awkward_cases_can_be_drawn(make):
    comparison = make()
    for exhibit in gallery(comparison):
        FigureCanvasAgg(exhibit.draw(comparison, 344)).draw()


@pytest.mark.parametrize("draw", DRAW[1:])
def test_what_is_not_there_is_not_drawn(draw):
    assert [e.key for e in gallery(cases.bare())] == ["accuracy"]
    with pytest.raises(InputError, match="comparison: got one without"):
        draw(cases.bare())


def test_many_methods_share_grey_and_one_label():
    comparison = cases.huge()
    look = styles(comparison)
    assert sum(style.named for style in look.values()) == 6
    (axes,) = plots.accuracy(comparison).axes
    assert {t.get_text() for t in axes.texts} >= {"35 others", "sparse", "snip", "dense"}


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    plots.accuracy(cases.digits())
    assert dict(mpl.rcParams) == before


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.3))
def test_labels_keep_their_order_and_their_distance(wanted, gap):
    placed = apart(wanted, gap)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert all(placed[b] - placed[a] > gap - 1e-9 for a, b in itertools.pairwise(order))
    if all(wanted[b] - wanted[a] >= gap for a, b in itertools.pairwise(order)):
        assert placed == pytest.approx(wanted)
    assert math.isclose(sum(placed), sum(wanted), abs_tol=1e-9)
