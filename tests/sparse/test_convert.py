import copy
import logging

import pytest
import torch
from torch import nn

import widthwise as ww
from widthwise.errors import InputError, InputTypeError
from widthwise.sparse import SparseConv2d, SparseLinear, calibration, densify, fold_batch_norms, plan, sparsify
from widthwise.sparse._uses import numbers
from widthwise.sparse.calibration import _calibrated, _dense_rates, _probes, _sparse_rates, calibrated
from widthwise.sparse.convert import AppliedReLU
from widthwise.sparse.cost import CostModel, Pair, Rates
from widthwise.weights import prunable


def rates(weight, number=0.0, call=0.0):
    return Rates(*[(part, part) for part in (weight, number, call)])


FAST = CostModel((1, 128), Pair(rates(1.0), rates(2.0)), Pair(rates(3.0), rates(5.0)))


@pytest.fixture(autouse=True)
def _known_costs(monkeypatch):
    """Dense costs 1 a weight forward and 3 a step; sparse 2 and 5."""
    monkeypatch.setattr("widthwise.sparse._plan.calibrated", lambda kind: FAST)


def pruned(sparsity=0.9, dtype=torch.float32, activation=nn.ReLU):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 30), activation(), nn.Linear(30, 30), activation(), nn.Dropout(0.1), nn.Linear(30, 5)
    ).to(dtype)
    ww.prune(model, sparsity, method="random", scope="uniform")
    return model.eval()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh])
@pytest.mark.parametrize("batch", [0, 1, 5, 64, 100])
def test_the_sparse_model_gives_the_same_numbers(activation, batch):
    model = pruned(dtype=torch.float64, activation=activation)
    sparse = sparsify(copy.deepcopy(model))
    x = torch.randn(batch, 20, dtype=torch.float64, requires_grad=True)
    y = torch.empty_like(x).copy_(x).detach().requires_grad_()
    torch.testing.assert_close(sparse(y), model(x))
    sparse(y).square().sum().backward()
    model(x).square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad)
    places = ww.Mask.of(model)["2.weight"]
    torch.testing.assert_close(sparse[2].values.grad, model[2].weight.grad[places])
    torch.testing.assert_close(sparse[2].bias.grad, model[2].bias.grad)


def test_densify_gives_the_model_back_exactly():
    model = pruned()
    there = sparsify(copy.deepcopy(model))
    assert isinstance(there[0], SparseLinear)
    back = densify(there)
    assert str(back) == str(model)
    assert list(back.state_dict()) == list(model.state_dict())
    assert all(torch.equal(*pair) for pair in zip(back.state_dict().values(), model.state_dict().values(), strict=True))


def test_results_stay_batch_last_between_sparse_layers_only():
    sparse = sparsify(pruned())
    assert [sparse[i].batch_last for i in (0, 2, 5)] == [True, True, False]
    assert [sparse[i].clip for i in (0, 2, 5)] == [True, True, False]
    assert isinstance(sparse[1], AppliedReLU)
    assert sparse(torch.randn(70, 20)).is_contiguous()


class Branching(nn.Module):
    """The first layer's result is also given back, and its ReLU serves twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.relu = nn.ReLU()

    def forward(self, x):
        first = self.first(x)
        second = self.relu(self.second(self.relu(first)))
        return first.view(-1), self.third(second)


def test_a_result_that_goes_elsewhere_stays_plain():
    model = Branching()
    ww.prune(model, 0.5, method="magnitude", scope="uniform")
    sparse = sparsify(copy.deepcopy(model))
    x = torch.randn(9, 8)
    for ours, theirs in zip(sparse(x), model(x), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert [layer.batch_last for layer in (sparse.first, sparse.second, sparse.third)] == [False, True, False]
    assert not sparse.second.clip


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.two(self.one(x)) if x.sum() > 0 else self.one(x)


def test_a_model_that_cannot_be_followed_runs_all_the_same():
    model = Untraceable()
    ww.prune(model, 0.5, method="magnitude", scope="uniform")
    sparse = sparsify(copy.deepcopy(model))
    for x in (torch.ones(4, 8), -torch.ones(4, 8)):
        torch.testing.assert_close(sparse(x), model(x))


def test_a_layer_alone():
    layer = nn.Linear(6, 4)
    ww.prune(layer, 0.5, method="magnitude")
    sparse = sparsify(copy.deepcopy(layer), policy="always")
    assert isinstance(sparse, SparseLinear)
    assert torch.equal(densify(sparse).weight, layer.weight)


def test_training_and_sparsity_decide():
    model = pruned(0.45)
    assert not any(decision.converts for decision in plan(model, training=False))
    assert "below 50% sparsity" in str(plan(model, training=False)[0])
    assert not any(decision.converts for decision in plan(pruned(0.39), training=True))
    assert all(decision.converts for decision in plan(model, training=True))
    assert all(decision.converts for decision in plan(pruned(0.6), training=False))


def test_always_converts_whatever_it_costs_but_not_a_dense_layer():
    model = pruned(0.05)
    nn.init.ones_(model[5].weight)
    ww.Mask.remove(model)
    nn.init.ones_(model[5].weight)
    decisions = plan(model, policy="always")
    assert [decision.converts for decision in decisions] == [True, True, False]
    assert "no weight is zero" in decisions[2].reason


def test_a_kept_weight_of_zero_still_exists():
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.weight)
    places = torch.eye(4, dtype=torch.bool)
    sparse = sparsify(layer, ww.Mask({"weight": places}), policy="always")
    assert torch.equal(sparse.mask(), places)


def test_the_mask_in_force_says_what_exists():
    model = pruned(0.5)
    mask = ww.Mask.of(model)
    model[0].weight.data.zero_()
    sparse = sparsify(model, policy="always")
    assert torch.equal(sparse[0].mask(), mask["0.weight"])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda m: setattr(m[2], "weight", m[2].weight), None),
        (lambda m: m[0].register_forward_hook(lambda *_: None), "hooks"),
        (lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.half())), "float16"),
        (lambda m: m[0].weight.data.fill_(torch.inf), "not finite"),
        (lambda m: setattr(m, "again", nn.Linear(20, 30)) or setattr(m.again, "weight", m[0].weight), "shared"),
        (lambda m: nn.utils.parametrizations.weight_norm(m[0]), "not a plain layer"),
    ],
)
def test_layers_that_must_stay_dense_say_why(spoil, says):
    model = pruned()
    ww.Mask.remove(model)
    spoil(model)
    reasons = [decision.reason for decision in plan(model)]
    assert any(says in reason for reason in reasons) if says else not any(reasons)


def test_a_layer_that_must_stay_dense_tells_how_many_of_its_weights_live():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)).bfloat16()
    mask = ww.prune(model, 0.8, "random")
    alive = {decision.name: (decision.kept, decision.weights) for decision in plan(model, policy="always")}
    assert alive == {name: (int(mask[f"{name}.weight"].sum()), mask[f"{name}.weight"].numel()) for name in ("0", "2")}


def test_sparsify_says_where_the_zeros_are_that_it_cannot_use(caplog):
    model = nn.ModuleDict({"memory": nn.LSTM(4, 6), "head": nn.Linear(6, 5)})
    alive = {name: torch.ones_like(p, dtype=torch.bool) for name, p in prunable(model).items()}
    alive["memory.weight_hh_l0"][:, 1:] = False
    ww.Mask(alive).apply(model)
    sparsify(model, policy="always")
    assert "the mask cuts only memory.weight_hh_l0; allowed are weights of nn.Linear and nn.Conv2d" in caplog.text


def test_sparsify_says_what_stays_dense(caplog):
    model = pruned(0.3)
    with caplog.at_level(logging.INFO, logger="widthwise"):
        sparsify(model, training=False)
    assert "0: stays dense: faster here below 50% sparsity" in caplog.text


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Sequential(nn.Linear(4, 3)), "no weight is zero; prune the model first"),
        (nn.Sequential(nn.Conv1d(2, 2, 1)), "the model has no nn.Linear and no nn.Conv2d"),
        (nn.Sequential(nn.Linear(4, 3).bfloat16()), "0: stays dense: no fast kernel for torch.bfloat16"),
    ],
)
def test_sparsify_always_warns_where_nothing_becomes_sparse(model, says, caplog):
    with caplog.at_level(logging.WARNING, logger="widthwise"):
        sparsify(model)
        assert not caplog.text  # a choice of the cost model is no surprise
        sparsify(model, policy="always")
    assert says in caplog.text
    caplog.clear()
    sparse = sparsify(pruned(), policy="always")
    sparsify(sparse, policy="always")
    assert not caplog.text


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: sparsify(3), InputTypeError, "model"),
        (lambda: sparsify(pruned(), policy="never"), InputError, "policy"),
        (lambda: sparsify(pruned(), batch=0), InputError, "batch"),
        (lambda: sparsify(pruned(), ww.Mask({"x": torch.ones(2, 2, dtype=torch.bool)})), InputError, "mask"),
        (lambda: sparsify(pruned(), {"0.weight": 1}), InputTypeError, "mask"),
        (lambda: densify("model"), InputTypeError, "model"),
    ],
)
def test_bad_input_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_the_model_trains_after():
    model = sparsify(pruned().train())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = torch.randn(64, 20), torch.randn(64, 5)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_costs_are_measured_once_and_read_again(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("WIDTHWISE_CACHE", str(tmp_path))
    monkeypatch.setitem(calibration._SIZES, kind, (8, 4))
    _calibrated.cache_clear()
    before = torch.get_rng_state()
    first = calibrated(kind)
    assert torch.equal(torch.get_rng_state(), before)
    _calibrated.cache_clear()
    assert calibrated(kind) == first
    (file,) = tmp_path.iterdir()
    file.write_text("{", encoding="utf-8")
    _calibrated.cache_clear()
    assert calibrated(kind).batches == first.batches
    assert all(min(part.weight) > 0 for work in (first.forward, first.step) for part in (work.dense, work.sparse))
    _calibrated.cache_clear()


def test_a_model_without_values_is_refused_by_name():
    model = nn.Sequential(nn.Linear(2, 2, device="meta"))
    for call in (plan, sparsify):
        with pytest.raises(InputError, match=r"0\.weight.*meta"):
            call(model)


def test_a_place_between_two_batches_costs_between_them():
    sparse = Rates((2.0, 2.0), (0.5, 0.5), (0.0, 8.0))
    model = CostModel((1, 4), Pair(Rates((1.0, 3.0), (0.0, 0.0), (0.0, 0.0)), sparse), FAST.step)
    assert model.seconds(10, 5, 2, 3, training=False) == (10 * 2 * 2.0, 4.0 + (5 * 2.0 + 3 * 0.5) * 2)
    assert model.seconds(10, 5, 64, 3, training=False)[0] == 10 * 64 * 3.0
    assert model.seconds(10, 5, 2, 3, training=False, places=0.5) == (10 * 2.0, 4.0 + 5 * 2.0 + 3 * 0.5)
    assert model.break_even(100, 1, 0, training=False) == 0.5
    assert model.break_even(100, 1, 100, training=False) == 0.75


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_few_outputs_are_told_from_many_weights(kind):
    weight, number, call, uses = 2e-11, 3e-10, 5e-6, 32
    probes = _probes(kind)
    layers = [(layer.weight.numel(), numbers(layer)) for layer in (probes.large, probes.thin)]
    times = [*(call + (weight * each + number * some) * uses for each, some in layers), call]
    assert _dense_rates(times, probes, uses) == pytest.approx((weight, number, call))
    assert min(_dense_rates([1e-3, 1e-3, 1e-6], probes, 8)) >= 0
    assert min(_dense_rates([1e-3, 1e-3, 2e-3], probes, 8)) >= 0
    kept = (100, 10_000)
    times = [*(call + (weight * each + number * layers[0][1]) * uses for each in kept), call]
    assert _sparse_rates(times, probes, *kept, uses) == pytest.approx((weight, number, call))


MODELS = {
    "resnet18": (lambda: ww.models.resnet18(width=8), (3, 3, 16, 16)),
    "resnet32 stable": (lambda: ww.models.resnet32(stable=True), (3, 3, 16, 16)),
    "vgg16": (lambda: ww.models.vgg16(width=0.125), (3, 3, 32, 32)),
}


@pytest.mark.parametrize("name", MODELS)
def test_convolutional_networks_stay_batch_last_inside_and_give_the_same(name):
    build, shape = MODELS[name]
    torch.manual_seed(0)
    model = build().double()
    mask = ww.prune(model, 0.9, method="random", scope="uniform", on_collapse="allow")
    sparse = sparsify(copy.deepcopy(model), policy="always")
    layers = {key: layer for key, layer in sparse.named_modules() if isinstance(layer, (SparseLinear, SparseConv2d))}
    assert sum(layer.batch_last for layer in layers.values()) > 0.8 * len(layers)
    x = torch.randn(shape, dtype=torch.float64)
    for training in (True, False):
        expected, got = model.train(training)(x), sparse.train(training)(x)
        torch.testing.assert_close(got, expected)
    model.train()(x).square().sum().backward()
    sparse.train()(x).square().sum().backward()
    dense = dict(model.named_parameters())
    for key, layer in layers.items():
        torch.testing.assert_close(layer.values.grad, dense[f"{key}.weight"].grad[mask[f"{key}.weight"]])
    back = densify(sparse)
    assert str(back) == str(model)
    assert list(back.state_dict()) == list(model.state_dict())
    assert all(map(torch.equal, back.parameters(), model.parameters()))  # running statistics differ in rounding


def test_the_blocks_of_a_transformer():
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), 2).eval()
    ww.prune(model, 0.7, method="magnitude", scope="uniform")
    sparse = sparsify(copy.deepcopy(model), policy="always")
    assert isinstance(sparse.layers[0].linear1, SparseLinear)
    x = torch.randn(3, 5, 16)
    torch.testing.assert_close(sparse(x), model(x))
    with torch.no_grad():
        torch.testing.assert_close(sparse(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", ["reflect", "circular"])
def test_a_convolution_that_pads_otherwise_stays_dense(padding):
    layer = nn.Conv2d(2, 2, 3, padding=1, padding_mode=padding)
    ww.prune(layer, 0.5, method="magnitude")
    assert padding in plan(layer, policy="always")[0].reason


def test_a_relu_is_applied_by_the_layer_whose_batch_norm_was_folded():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
    ).eval()
    ww.prune(model, 0.5, method="random", scope="uniform")
    x = torch.randn(3, 2, 8, 8)
    expected = model(x)
    sparse = sparsify(fold_batch_norms(model), policy="always")
    assert [sparse[i].clip for i in (0, 3)] == [True, True]
    torch.testing.assert_close(sparse(x), expected)


def test_a_convolution_uses_its_weights_at_many_places(monkeypatch):
    slow_start = CostModel((1, 128), *[Pair(rates(1.0), rates(2.0, 0.0, 1e4))] * 2)
    monkeypatch.setattr("widthwise.sparse._plan.calibrated", lambda kind: slow_start)
    conv, linear = nn.Conv2d(4, 4, 3), nn.Linear(12, 12)
    model = nn.Sequential(conv, linear)
    ww.prune(model, 0.9, method="random", scope="uniform")
    assert [decision.converts for decision in plan(model, batch=8)] == [True, False]
    picture = torch.randn(8, 4, 3, 3)
    alone = {"training": False, "example": picture}
    small = nn.Sequential(conv, nn.Flatten())
    assert not plan(small, **alone)[0].converts
    assert plan(small, batch=1000, **alone)[0].dense == 1000 * conv.weight.numel()
    assert plan(small, training=False, example=torch.randn(8, 4, 20, 20))[0].dense == 8 * 18**2 * conv.weight.numel()
    with pytest.raises(InputError, match="example"):
        plan(small, example=torch.randn(8, 5, 3, 3))
    unused = nn.ModuleDict({"used": conv, "not": copy.deepcopy(conv)})
    unused.forward = lambda x: unused["used"](x)
    assert "does not reach" in plan(unused, **alone)[1].reason
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 3))
    assert "computed" in plan(normed, example=torch.randn(2, 3))[0].reason


def test_a_relu_is_applied_before_a_dense_layer_too():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    mask = ww.prune(model, 0.5, method="random", scope="uniform")
    model[2].weight.data.fill_(1.0)
    x = torch.randn(9, 6)
    expected = model(x)
    sparse = sparsify(model, ww.Mask({"0.weight": mask["0.weight"]}), policy="always")
    assert isinstance(sparse[1], AppliedReLU)
    assert sparse[0].clip
    assert not sparse[0].batch_last
    torch.testing.assert_close(sparse(x), expected)
    assert isinstance(densify(sparse)[1], nn.ReLU)
