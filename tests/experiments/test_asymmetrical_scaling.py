"""The experiments on asymmetrical node scaling at smoke scale: that they run, and that what they say is right."""

from __future__ import annotations

import functools

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from widthwise.errors import DataError, InputError, InputTypeError
from widthwise.experiments.asymmetrical_scaling import EXPERIMENTS
from widthwise.experiments.asymmetrical_scaling.common import SETTINGS, Curves, Part, network
from widthwise.experiments.features import _ResNet18, imagenet_features, trained_features
from widthwise.experiments.outcome import Outcome


@functools.cache
def smoke(name: str) -> Outcome:
    return EXPERIMENTS[name]("smoke", None, 0)


def test_in_figure_1_every_order_and_guarantee_holds():
    notes = smoke("fig1").notes
    assert notes[0].startswith("Loss above its bound exp(-gamma kappa t / 2) L(0) in 0 of")
    assert "in 0 of" in notes[1]
    assert all("as expected" in note for note in notes[2:])


def test_measured_expectations_are_the_theorems():
    outcome = smoke("theorems")
    off = [(r["measured"] - r["theory"]) / r["error"] for r in outcome.rows if r["error"]]
    assert len(off) > 80
    assert max(map(abs, off)) < 5
    assert sum(abs(s) < 2 for s in off) > 0.8 * len(off)
    bounded = [r for r in outcome.rows if r["quantity"] == "movement over its bound" and r["gamma"] > 0]
    assert len(bounded) == 3
    assert all(r["measured"] <= 1 for r in bounded)


def test_the_total_variance_is_the_theorys():
    assert all(r["measured"] == pytest.approx(r["at_width"], rel=0.3) for r in smoke("fig5").rows if r["measured"])


@pytest.mark.slow
def test_the_kernel_limit_is_neared():
    lazy = [row for row in smoke("kernel_limit").rows if row["gamma"] == 1]
    assert lazy[-1]["full"] < 0.9 * lazy[0]["full"]


def test_the_flow_is_gradient_descent():
    assert max(row["outputs"] for row in smoke("agreement").rows if row["rtol"] == 1e-3) < 0.01


@pytest.mark.slow
def test_brief_figures_show_what_the_whole_ones_found():
    whole = [row for row in smoke("fig10").rows if row["axis"] == "features"]
    assert [row for row in smoke("fig3").rows if row["axis"] == "features"] == whole


def test_seeds_are_counted_and_the_same_seed_gives_the_same_numbers():
    one = EXPERIMENTS["fig1"]("smoke", None, 1, 1)
    assert one.settings["seeds"] == [1]
    assert one.rows == EXPERIMENTS["fig1"]("smoke", None, 1, 1).rows
    assert all(row["least"] == row["most"] for row in one.rows)


def test_an_order_is_compared_seed_by_seed():
    values = torch.tensor([[1.0, 1.0], [2.0, 0.0], [3.0, 9.0], [4.0, 10.0]]).double().unsqueeze(2)
    sentence = Curves("steps", [10.0], {"q": values}).order("q", 10, rising=True)
    assert "as expected (neighbours in order in 1, 2, 2 of 2 seeds)" not in sentence
    assert "(neighbours in order in 1, 2, 2 of 2 seeds)" in sentence  # means are 1, 1, 6, 7: a tie is no order
    assert "NOT the expected order" in sentence


def test_a_seed_gives_all_settings_the_same_weights():
    nets = [network(Part("x", "smoke", None, s.gamma, s.alpha, 3), 4, 10) for s in SETTINGS]
    for net in nets[1:]:
        torch.testing.assert_close(net.weight, nets[0].weight)
        torch.testing.assert_close(net.sign, nets[0].sign)


def test_features_of_a_file_are_those_of_the_network_in_it(tmp_path):
    torch.manual_seed(1)
    net = _ResNet18()
    with torch.no_grad():
        net(torch.randn(8, 3, 32, 32))  # statistics that are not those of a new network
    net.eval()
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert sum(value.numel() for value in state.values()) == 11_186_112  # 11 689 512 less fc, with statistics
    save_file({**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "r.safetensors")
    images = torch.rand(3, 3, 32, 32)
    found = imagenet_features(tmp_path / "r.safetensors", size=64)(images)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    larger = functional.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = net((larger - mean.view(3, 1, 1)) / deviation.view(3, 1, 1))
    torch.testing.assert_close(found, expected)
    outcome = EXPERIMENTS["fig4"]("smoke", None, 0, 1, str(tmp_path / "r.safetensors"))
    assert outcome.settings["features"] == "ResNet-18 from a file"


def test_files_of_other_networks_are_named(tmp_path):
    for name, tensors in (("empty", {}), ("other", {"conv1.weight": torch.zeros(64, 3, 3, 3)})):
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        with pytest.raises(DataError, match=rf"{name}.safetensors: conv1.weight is .*ResNet-18"):
            imagenet_features(path)
    (tmp_path / "text").write_text("no")
    with pytest.raises(DataError, match="is no safetensors file"):
        imagenet_features(tmp_path / "text")


def test_a_network_trained_here_gives_features_that_tell_classes_apart():
    y = torch.arange(60) % 2
    x = torch.rand(60, 3, 8, 8) * 0.2 + 0.5 * y.view(-1, 1, 1, 1)
    found = trained_features(x, y, width=2, epochs=3)(x)
    assert found.shape == (60, 16)
    between = (found[y == 0].mean(0) - found[y == 1].mean(0)).norm()
    assert between > found[y == 0].std(0).norm()


def test_data_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"data: got none, allowed is the path of concrete.csv"):
        EXPERIMENTS["fig6"]("small")
    with pytest.raises(InputTypeError, match="data: got int"):
        EXPERIMENTS["fig6"]("smoke", 3)
    with pytest.raises(DataError, match="colour images"):
        EXPERIMENTS["fig4"]("smoke", "digits")
