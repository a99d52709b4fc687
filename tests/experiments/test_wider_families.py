"""The ResNet-18 figures at smoke scale: what is trained, that it is shared, and what is concluded."""

from __future__ import annotations

import math

import pytest
import torch

from widthwise.errors import InputError
from widthwise.experiments.images import accuracy, augmented, descend, shrunk
from widthwise.experiments.parts import kept_in
from widthwise.experiments.wider_nets import EXPERIMENTS, fig3, fig4, fig6, fig7, fig9, fig10, fig14, table1
from widthwise.experiments.wider_nets import resnet as engine
from widthwise.experiments.wider_nets.resnet import DENSE, IO, LINEAR, NONLINEAR, SPARSE, Point
from widthwise.experiments.wider_nets.verdicts import compared, gain_of_widening, shares_of_width
from widthwise.models import mlp, resnet18
from widthwise.widening import weights_at

FIGURES = ("fig1", "fig3", "fig6", "fig7", "fig9", "fig11", "fig12", "fig13", "fig14", "table1")


def test_no_network_is_trained_twice_by_figures_of_the_same_runs(tmp_path, monkeypatch):
    trained = []
    original = engine.descend

    def counting(model, *args, **kwargs):
        trained.append((type(model), sum(p.numel() for p in model.parameters()), kwargs["seed"]))
        original(model, *args, **kwargs)

    monkeypatch.setattr(engine, "descend", counting)
    with kept_in(tmp_path / "parts.sqlite"):
        first = fig6()
        assert len(trained) == len(first.rows) == 2
        for name in ("fig1", "fig11", "fig12", "fig14"):
            again = EXPERIMENTS[name]()
            assert [dict(row) for row in again.rows] == [dict(row) for row in first.rows]
        assert len(trained) == 2
        assert len(fig7().rows) == len(trained) == 3
        assert len(table1().rows) == len(trained) == 3


@pytest.mark.parametrize(
    ("experiment", "methods"),
    [(fig6, {DENSE, SPARSE}), (fig3, {DENSE, LINEAR, NONLINEAR}), (fig9, {DENSE, SPARSE, IO})],
)
def test_networks_of_a_figure_have_the_weights_of_the_narrow_one(experiment, methods):
    rows = experiment().rows
    assert {row["method"] for row in rows} == methods
    dense = {row["width"]: row["weights"] for row in rows if row["method"] == DENSE}
    assert dense == {w: weights_at(lambda w: resnet18(10, 1, w), w) for w in dense}
    for row in rows:
        if row["method"] in (SPARSE, IO):
            assert row["weights"] == dense[row["base"]]
        assert row["test_mean"] == pytest.approx(sum(row["test"]) / len(row["test"]))
        assert 0 <= min(row["last"]) <= max(row["test"]) <= 1


def test_figure_14_draws_the_training_accuracy_against_connectivity():
    outcome = fig14()
    line = outcome.figure.axes[0].lines[-1]
    assert list(line.get_xdata()) == [outcome.rows[1]["connectivity"]]
    assert list(line.get_ydata()) == [pytest.approx(100 * outcome.rows[1]["train_mean"])]


def test_figure_4_cuts_the_largest_layers_first_and_exactly():
    rows = fig4().rows
    sizes = [row["weights"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    for share in (0.6, 0.3, 0.1, 0.02):
        kept = [row[f"kept_of_{share:g}"] for row in rows]
        assert sum(kept) == round(share * sum(sizes))
        uncut = [s for s, k in zip(sizes, kept, strict=True) if s == k]
        assert max(kept) - min(k for s, k in zip(sizes, kept, strict=True) if k < s) <= len(rows)
        assert all(s <= max(kept) for s in uncut)


def test_figure_10_has_the_papers_number_of_weights():
    rows = fig10("small").rows
    for width in (8, 16, 32, 64, 128):
        mine = [row for row in rows if row["width"] == width]
        assert sum(row["kept"] for row in mine) == 180_952
        assert mine[0]["connectivity"] == 1.0
    assert min(row["connectivity"] for row in rows) < 0.005


def point(method: str, base: int, width: int, *test: float) -> Point:
    return Point(method, base, width, 100, base / width, test, test, test)


def test_the_share_due_to_width_is_the_ratio_of_gains():
    base = point(DENSE, 4, 4, 0.50, 0.52, 0.54)
    sparse, dense = point(SPARSE, 4, 8, 0.56, 0.58, 0.60), point(DENSE, 8, 8, 0.60, 0.62, 0.64)
    (share,) = shares_of_width([base, sparse], [base, sparse, dense])
    assert share.mean == pytest.approx(0.6)
    assert share.half == pytest.approx(0, abs=1e-9)  # every seed has the same ratio
    assert "60% ± 0%" in share.note
    noisy = point(DENSE, 8, 8, 0.40, 0.62, 0.84)
    (unsure,) = shares_of_width([base, sparse], [base, sparse, noisy])
    assert not unsure.sure
    assert "undetermined" in unsure.note
    (alone,) = shares_of_width([point(DENSE, 4, 4, 0.5), point(SPARSE, 4, 8, 0.6)], [point(DENSE, 8, 8, 0.7)])
    assert not alone.sure


def test_a_gain_within_its_interval_is_undetermined():
    base, wide = point(DENSE, 4, 4, 0.50, 0.51, 0.52), point(SPARSE, 4, 8, 0.60, 0.61, 0.62)
    assert gain_of_widening([base, wide]).startswith("sparse, 100 weights, width 8 against 4: +10.0 ± 0.0")
    mixed = point(SPARSE, 4, 8, 0.40, 0.51, 0.63)
    assert "undetermined" in compared("x", mixed, base)
    assert "no wider" in gain_of_widening([base])
    assert "nan" not in compared("x", point(SPARSE, 4, 8, 0.6), point(DENSE, 4, 4, 0.5))


def test_training_learns_and_takes_either_schedule():
    torch.manual_seed(0)
    x = torch.randn(256, 1, 4, 4)
    y = (x.mean((1, 2, 3)) > 0).long()
    for milestones in ((3,), (), None):
        model, seen = mlp(16, 2, width=16), []
        descend(
            model, (x, y), epochs=4, batch=32, milestones=milestones, weight_decay=0.0, shift=0, seed=0,
            after_epoch=lambda model=model, seen=seen: seen.append(accuracy(model, (x, y))),
        )  # fmt: skip
        assert len(seen) == 4
        assert seen[-1] > 0.9


def test_augmented_images_are_moved_or_mirrored_copies():
    x = torch.arange(1.0, 17).view(1, 1, 4, 4).repeat(50, 1, 1, 1)
    moved = augmented(x, 1, torch.Generator().manual_seed(0))
    windows = {
        tuple(torch.nn.functional.pad(v, [1] * 4)[0, 0, a : a + 4, b : b + 4].flatten().tolist())
        for v in (x[:1], x[:1].flip(-1))
        for a in range(3)
        for b in range(3)
    }
    found = {tuple(image.flatten().tolist()) for image in moved}
    assert found <= windows
    assert len(found) > 8
    assert shrunk((x, torch.zeros(50)), 2)[0][0, 0].tolist() == [[3.5, 5.5], [11.5, 13.5]]


def test_bad_input_of_the_figures(tmp_path):
    for name in FIGURES:
        with pytest.raises(InputError, match="scale: got 'huge'"):
            EXPERIMENTS[name]("huge")
    with pytest.raises(InputError, match="allowed is the path of ImageNet"):
        table1("paper")
    with pytest.raises(InputError, match="nowhere"):
        fig6("smoke", "nowhere.npz")
    assert math.isfinite(fig6(seeds=2).rows[0]["test"][1])
