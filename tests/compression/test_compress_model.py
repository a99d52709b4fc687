from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from widthwise.compression import compress_model
from widthwise.compression.blocks import find_blocks
from widthwise.errors import InputError, InputTypeError
from widthwise.masks import Mask


class Functional(nn.Module):
    """A block written with a function, inside a residual sum, with names of its own."""

    def __init__(self, act=functional.gelu) -> None:
        super().__init__()
        self.up, self.down, self.norm, self.act = nn.Linear(6, 24), nn.Linear(24, 6), nn.LayerNorm(6), act

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.act(self.up(self.norm(x))))


class Leaky(nn.Module):
    """Its hidden units are also read by something else."""

    def __init__(self, reader) -> None:
        super().__init__()
        self.first, self.second, self.reader = nn.Linear(6, 16), nn.Linear(16, 3), reader

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        return self.second(hidden) + self.reader(hidden).unsqueeze(-1)


def mlp(*widths: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


def data(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) + 0.3


def names(model: nn.Module, x: Tensor) -> list[tuple[str, str, str]]:
    return [(block.first, block.second, block.activation.name) for block in find_blocks(model, x)]


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (nn.ReLU, "relu"), (nn.GELU, "gelu"), (nn.Tanh, "tanh"), (nn.SiLU, "silu"), (nn.Sigmoid, "sigmoid"),
        (lambda: nn.LeakyReLU(0.3), "leaky_relu(0.3)"), (lambda: nn.GELU("tanh"), "gelu_tanh"), (nn.ELU, "elu"),
    ],
)  # fmt: skip
def test_blocks_are_found_with_their_activation(act, name):
    assert names(mlp(5, 12, 3, act=act), data(40, 5)) == [("0", "2", name)]


def test_blocks_are_found_however_a_model_is_written():
    x = data(20, 6)
    assert names(Functional(), x) == [("up", "down", "gelu")]
    assert names(Functional(functional.silu), x) == [("up", "down", "silu")]
    assert names(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)), x) == [("0", "3", "relu")]
    assert names(mlp(6, 9, 9, 2), x) == [("0", "2", "relu"), ("2", "4", "relu")]


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_blocks_of_a_transformer_are_found_in_spite_of_its_fused_path(activation):
    layer = nn.TransformerEncoderLayer(8, 2, 20, batch_first=True, activation=activation)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    found = names(encoder, data(4, 5, 8))
    assert found == [(f"layers.{i}.linear1", f"layers.{i}.linear2", activation) for i in range(2)]
    assert not encoder.training


def test_what_is_no_block_is_left_out():
    x = data(20, 6)
    assert names(Leaky(lambda hidden: hidden @ torch.arange(16.0)), x) == []
    assert names(Leaky(lambda hidden: hidden.mean(-1)), x) == []
    assert names(Leaky(lambda hidden: 0 * hidden[:, 0]), x) == [("first", "second", "relu")]
    assert names(nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2)), x) == []
    assert names(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), x) == []
    tied = mlp(6, 6, 6, 6)
    tied[2].weight = tied[0].weight
    assert names(tied, x) == []
    masked = mlp(6, 8, 2)
    Mask({"0.weight": torch.rand(8, 6) > 0.5, "2.weight": torch.ones(2, 8, dtype=torch.bool)}).apply(masked)
    assert names(masked, x) == []


def test_looking_for_blocks_leaves_the_model_as_it_was():
    model = Functional().train()
    before = copy.deepcopy(model.state_dict())
    x = data(20, 6)
    find_blocks(model, x)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not model.up._forward_hooks


def test_compressing_beats_keeping_units_and_says_how_well_it_did():
    torch.manual_seed(0)
    model, x = mlp(8, 64, 4), data(2000, 8)
    small, report = compress_model(model, 16, data=x, iterations=20)
    other = compress_model(model, 16, data=x, method="random").report
    block = report.blocks[0]
    assert (small[0].out_features, small[2].in_features) == (16, 16)
    assert (block.N, block.M, block.weights_before, block.weights_after) == (64, 16, 768, 192)
    assert block.error < 0.3 * other.blocks[0].error
    assert block.error <= block.raw_error
    with torch.no_grad():
        missed = ((model(x) - small(x)).square().sum() / (model(x) - model(x).mean(0)).square().sum()).item()
    assert missed == pytest.approx(block.error, rel=0.3)
    assert [M for M, _ in block.curve] == [4, 8, 16]
    errors = [error for _, error in block.curve]
    assert errors == sorted(errors, reverse=True)
    assert block.speedup > 0
    assert "0 -> 2 (relu)" in str(report)
    assert "25.0%" in str(report)
    assert model[0].out_features == 64


def test_gaussian_inputs_are_predicted_well():
    torch.manual_seed(0)
    model, x = mlp(6, 40, 2), data(8000, 6)
    block = compress_model(model, 8, data=x, iterations=30, rows=8000, curve=()).report.blocks[0]
    mean_square = model[2](torch.relu(model[0](x))) - model[2].bias
    ratio = (mean_square.square().sum() / (mean_square - mean_square.mean(0)).square().sum()).item()
    assert block.raw_error == pytest.approx(block.predicted * ratio, rel=0.25)


def test_deep_models_and_transformers_run_on():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 32, 0.0, batch_first=True), 2)
    x = data(16, 10, 8)
    small, report = compress_model(encoder, {"layers.1.linear1": 8}, data=x, iterations=10, curve=())
    assert [block.first for block in report.blocks] == ["layers.1.linear1"]
    assert small.layers[0].linear1.out_features == 32
    with torch.no_grad():
        assert (encoder.eval()(x) - small.eval()(x)).square().mean() < 0.05 * encoder(x).var()
    deep, report = compress_model(mlp(6, 20, 20, 3), 10, data=data(200, 6), iterations=5, curve=())
    assert [deep[i].out_features for i in (0, 2, 4)] == [10, 10, 3]
    assert len(report.blocks) == 2


def test_the_least_size_that_keeps_to_a_loss():
    torch.manual_seed(0)
    model, x = mlp(6, 32, 2), data(800, 6)
    small, report = compress_model(model, max_loss=0.02, data=x, iterations=20)
    block = report.blocks[0]
    assert block.error <= 0.02
    smaller = [error for M, error in block.curve if block.M > M]
    assert smaller
    assert min(smaller) > 0.02
    assert small[0].out_features == block.M


def test_a_loss_that_no_size_keeps_to_leaves_the_block():
    torch.manual_seed(0)
    small, report = compress_model(mlp(6, 4, 2), max_loss=1e-12, data=data(200, 6), iterations=5)
    assert small[0].out_features == 4
    assert report.blocks == ()


def test_training_goes_on():
    model, x = mlp(6, 32, 2).double(), data(200, 6).double()
    small = compress_model(model, 8, data=(x, torch.zeros(200)), iterations=5, curve=()).model
    assert small[0].weight.dtype == torch.float64
    small(x).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in small.parameters())


@pytest.mark.parametrize("form", ["tensor", "pair", "loader", "bare loader", "nothing"])
def test_forms_of_data(form):
    model, x, y = mlp(6, 20, 2), data(120, 6), torch.zeros(120)
    batches = list(zip(x.split(32), y.split(32), strict=True))
    given = {"tensor": x, "pair": (x, y), "loader": batches, "bare loader": [b for b, _ in batches], "nothing": None}
    small, report = compress_model(model, 5, data=given[form], iterations=3, curve=())
    assert small(x).shape == (120, 2)
    assert report.rows == (4096 if form == "nothing" else 120)
    assert ("standard normal" in report.inputs) is (form == "nothing")


def test_layers_without_bias_get_one():
    model = nn.Sequential(nn.Linear(6, 20, bias=False), nn.ReLU(), nn.Linear(20, 2, bias=False))
    x = data(300, 6)
    small, report = compress_model(model, 20 - 1, data=x, iterations=20, curve=())
    assert small[0].bias is not None
    assert report.blocks[0].error < 1e-3


def test_the_same_seed_gives_the_same_model():
    model, x = mlp(6, 20, 2), data(100, 6)
    one, other = (compress_model(model, 5, data=x, method="random", seed=3, curve=()).model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_inputs_that_vary_in_few_directions():
    x = data(200, 2) @ data(2, 6)
    assert compress_model(mlp(6, 20, 2), 6, data=x, iterations=10, curve=()).report.blocks[0].error < 0.2


def broken() -> nn.Sequential:
    model = mlp(6, 20, 2)
    model[0].weight.data[3] = float("nan")
    return model


MODEL = mlp(6, 20, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": None}, "exactly one of the two"),
        ({"max_loss": 0.1}, "exactly one of the two"),
        ({"sizes": 21}, "sizes: got 21 for 0, allowed is at most its 20 hidden units"),
        ({"sizes": 0}, "sizes: got 0"),
        ({"sizes": {"1": 5}}, "sizes: got '1', allowed are 0"),
        ({"sizes": {"0": -1}}, r"sizes\['0'\]: got -1"),
        ({"sizes": None, "max_loss": 0.0}, "max_loss: got 0.0"),
        ({"sizes": None, "max_loss": 2}, "max_loss: got 2"),
        ({"data": data(3, 6)}, "data: got 3 inputs for 0, allowed are at least 10"),
        ({"data": data(0, 6)}, "data: got no examples"),
        ({"data": []}, "data: got no examples"),
        ({"data": data(20, 5)}, "data: the model fails on it"),
        ({"data": torch.full((20, 6), float("nan"))}, "data: 120 of 120 values are NaN"),
        ({"data": torch.ones(20, 6)}, "covariance: got eigenvalues"),
        ({"model": nn.Linear(6, 2)}, "model: no Linear-activation-Linear block was found"),
        ({"model": broken()}, "model: what 0 gives: .* values are NaN"),
        ({"model": nn.ReLU(), "data": None}, "model: it has no Linear layer"),
        ({"method": "etf"}, "method: got 'etf'"),
        ({"method": "best"}, "method: got 'best'"),
        ({"curve": [0]}, "curve: got 0"),
        ({"rows": 5}, "rows: got 5"),
    ],
)
def test_bad_values(change, message):
    arguments = {"model": MODEL, "sizes": 5, "data": data(50, 6), "iterations": 2} | change
    with pytest.raises(InputError, match=message):
        compress_model(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "net"}, "model: got 'net'"),
        ({"sizes": 2.5}, "sizes: got 2.5"),
        ({"data": 3}, "data: got int"),
        ({"data": [1, 2]}, "data: got int"),
        ({"data": ()}, "data: got NoneType"),
    ],
)
def test_bad_types(change, message):
    arguments = {"model": MODEL, "sizes": 5, "data": data(50, 6), "iterations": 2} | change
    with pytest.raises(InputTypeError, match=message):
        compress_model(**arguments)


@pytest.mark.slow
def test_a_trained_mnist_network_keeps_its_accuracy_at_a_sixteenth_of_its_width(shared_data):
    from widthwise.experiments.two_layer_compression import mnist

    outcome = mnist("small", str(shared_data / "mnist"))
    found = {(row["method"], row["M"]): row for row in outcome.rows}
    full = found["uncompressed", 1024]["refitted"]
    assert found["optimal", 64]["refitted"] > full - 0.02
    for M in (16, 32, 64, 128):
        others = [found[method, M]["refitted"] for method in ("greedy", "kmeans", "merge", "magnitude", "random")]
        assert found["optimal", M]["refitted"] > max(others)
