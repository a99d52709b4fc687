"""Linearized and difference networks against explicit Jacobians, finite differences and the infinite ensemble."""

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_regression
from sklearn.utils.estimator_checks import check_estimator
from torch import nn
from torch.nn import functional

import widthwise as ww
from widthwise.errors import InputError, InputTypeError
from widthwise.kernels import empirical_ntk
from widthwise.linearized import (
    Difference,
    Linearized,
    LinearizedDifferenceRegressor,
    RoundingWarning,
    linearize,
    tangent_features,
)


def small():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def data(n=7, d=4, k=2):
    return torch.randn(n, d, dtype=torch.float64), torch.randn(n, k, dtype=torch.float64)


def displaced(net, size=1.0):
    for p in net.displacement.values():
        nn.init.normal_(p, std=size)
    return torch.cat([net.displacement[n.replace(".", "/")].flatten() for n in net.base.trained]).detach()


def jacobian(model, x):
    rows = []
    for one in x:
        for value in model(one[None]).flatten():
            grads = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows).view(len(x), -1, rows[0].numel())


class NoForwardRule(torch.autograd.Function):
    """The square, differentiable twice, in reverse only."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 5)

    def forward(self, x):
        return NoForwardRule.apply(self.inner(x)).sum(1, keepdim=True)


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.cells(x)[0][:, -1]


MODELS = {
    "dense": (small, (4,)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(18, 2)).double(),
        (1, 5, 5),
    ),
    "normalised": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.SiLU(), nn.Linear(5, 1)).double(),
        (4,),
    ),
    "no forward rule": (lambda: Squares().double(), (4,)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True).double(), (3, 4)),
    "recurrent": (lambda: Last().double(), (3, 4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_is_the_jacobian_times_the_displacement(name):
    build, shape = MODELS[name]
    model = build().eval()
    x = torch.randn(5, *shape, dtype=torch.float64)
    j = jacobian(model, x)
    net = linearize(model, difference=True)
    assert float(net(x).detach().abs().max()) == 0
    moved = (j @ displaced(net)).view(net(x).shape)
    torch.testing.assert_close(net(x).detach(), moved)
    full = Linearized(model)
    full.load_state_dict(net.state_dict())
    torch.testing.assert_close(full(x).detach(), moved + model(x).detach())
    v = torch.randn_like(moved)
    grads = torch.autograd.grad(net(x), list(net.displacement.values()), v)
    by_name = dict(zip(net.displacement.keys(), grads, strict=True))
    flat = torch.cat([by_name[n.replace(".", "/")].flatten() for n in net.base.trained])
    torch.testing.assert_close(flat, torch.einsum("nkp,nk->p", j, v.flatten(1)))


def test_is_the_limit_of_difference_networks():
    model, (x, _) = small(), data()
    net = linearize(model, difference=True)
    displaced(net)
    errors = []
    for eps in (1e-2, 1e-3, 1e-4):
        near = Difference(model, eps)
        near.load_state_dict(net.state_dict())
        errors.append(float((near(x) - net(x)).detach().norm() / net(x).detach().norm()))
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 1e-3


@settings(deadline=None, max_examples=15)
@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 2**20))
def test_is_linear_in_the_displacement(a, b, seed):
    torch.manual_seed(seed)
    model, (x, _) = small(), data()
    nets = [linearize(model, difference=True) for _ in range(3)]
    first, second = displaced(nets[0]), displaced(nets[1])
    for p, q, r in zip(*(n.displacement.values() for n in nets), strict=True):
        r.data = a * p.data + b * q.data
    torch.testing.assert_close(nets[2](x), a * nets[0](x) + b * nets[1](x))
    assert first.shape == second.shape


LOSSES = {
    "squares": functional.mse_loss,
    "absolute": functional.l1_loss,
    "logistic": lambda out, y: functional.binary_cross_entropy_with_logits(out, (y > 0).double()),
    "cross-entropy": lambda out, y: functional.cross_entropy(out, y.argmax(1)),
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "lbfgs": lambda p: torch.optim.LBFGS(p, max_iter=4, line_search_fn="strong_wolfe"),
}


@pytest.mark.parametrize("build", [lambda m: linearize(m, difference=True), linearize, Difference])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_trains_with_any_loss_and_optimizer(build, optimizer, loss):
    net, (x, y) = build(small()), data()
    trained = OPTIMIZERS[optimizer]([p for p in net.parameters() if p.requires_grad])

    def closure():
        trained.zero_grad()
        value = LOSSES[loss](net(x), y)
        value.backward()
        return value

    first = float(closure().detach())
    for _ in range(30):
        trained.step(closure)
    assert float(closure().detach()) < 0.9 * first


def test_descent_follows_the_closed_form_of_the_empirical_kernel():
    """(12): on squares, the outputs of a linearized difference network move by H alone."""
    model, (x, y) = small(), data(5)
    net = linearize(model, difference=True)
    kernel = empirical_ntk(model, x, outputs="full").transpose(1, 2).reshape(10, 10)
    rate = 0.5 / float(torch.linalg.eigvalsh(kernel)[-1])
    sgd = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=rate)
    for _ in range(40):
        sgd.zero_grad()
        (0.5 * (y - net(x)).square().sum()).backward()
        sgd.step()
    decay = torch.linalg.matrix_power(torch.eye(10, dtype=torch.float64) - rate * kernel, 40)
    torch.testing.assert_close(net(x).detach().flatten(), y.flatten() - decay @ y.flatten())


def test_the_base_never_moves_and_the_model_is_left_alone():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 1)).train()
    before = copy.deepcopy(model.state_dict())
    net = linearize(model).train()
    kept = copy.deepcopy(net.base.state_dict())
    adam = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(3):
        net(torch.randn(6, 4)).sum().backward()
        adam.step()
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert all(torch.equal(kept[n], t) for n, t in net.base.state_dict().items())
    assert model.training
    assert model[0].weight.requires_grad
    assert not net.base.model.training


def test_only_what_required_gradients_moves():
    model = small()
    model[0].requires_grad_(False)
    assert set(linearize(model).displacement) == {"2/weight", "2/bias"}


def test_state_dict_and_copies():
    net, (x, _) = linearize(small(), difference=True), data()
    displaced(net)
    other = linearize(small(), difference=True)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
    assert torch.equal(copy.deepcopy(net)(x), net(x))


def test_small_scales_warn_of_rounding():
    """The failure of Figure 3: in single precision eps = 1e-6 leaves nothing but rounding."""
    model, x = small().float(), torch.randn(5, 4)
    net = Difference(model, 1e-7)
    displaced(net, 0.1)
    with pytest.warns(RoundingWarning, match="eps: with 1e-07, rounding is"):
        net(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net(x)  # said once
        fine = Difference(model, 1e-2)
        displaced(fine, 0.1)
        fine(x)
        Difference(model, 1e-9)(x)  # at the start there is nothing to lose
        double = Difference(model.double(), 1e-6)
        displaced(double, 0.1)
        double(x.double())


def test_a_displacement_lost_altogether_warns():
    net = Difference(small().float(), 1e-30)
    displaced(net, 1.0)
    with pytest.warns(RoundingWarning):
        assert float(net(torch.randn(3, 4)).detach().abs().max()) == 0


@pytest.mark.parametrize("train", ["all", "first", "last"])
def test_features_are_the_jacobian(train):
    model, (x, _) = small(), data(9)
    j = jacobian(model, x)
    part = {"all": slice(None), "first": slice(0, 30), "last": slice(30, None)}[train]
    found = tangent_features(model, x, train=train, rows=4)
    torch.testing.assert_close(found, j[:, :, part])
    torch.testing.assert_close(torch.einsum("ikp,jkp->ij", found, found) / 2, empirical_ntk(model, x, train=train))


def test_features_of_a_sparse_network():
    model = small()
    mask = ww.prune(model, 0.5, "magnitude")
    x, _ = data(3)
    assert tangent_features(model, x).shape == (3, 2, mask.kept + 8)


@pytest.mark.parametrize("build", [lambda m: ww.linearize(m, difference=True), ww.linearized.Difference])
def test_a_sparse_network_trains_by_its_own_tangent_kernel(build):
    model = small()
    ww.prune(model, 0.5, "magnitude")
    x, _ = data(3)
    net = build(model)
    rows = [torch.autograd.grad(value, [*net.displacement.values()], retain_graph=True) for value in net(x).flatten()]
    j = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).view(3, 2, -1)
    torch.testing.assert_close(torch.einsum("ikp,jkp->ij", j, j) / 2, empirical_ntk(model, x))
    assert list(net.state_dict()) == list(build(small()).state_dict())


@pytest.mark.parametrize("build", [ww.linearize, ww.linearized.Difference])
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_of_a_wrapped_module_the_one_inside_is_taken(build, wrap):
    model, (x, _) = small(), data(3)
    found, wanted = build(wrap(model)), build(model)
    assert list(found.state_dict()) == list(wanted.state_dict())
    torch.testing.assert_close(found(x), wanted(x))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_contract():
    check_estimator(LinearizedDifferenceRegressor(width=30, random_state=0))


def test_regressor_is_kernel_regression_with_the_empirical_kernel():
    X, y = make_regression(25, 3, random_state=0)
    model = LinearizedDifferenceRegressor(width=40, ridge=0.0, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-6)
    inputs = torch.from_numpy(model._inputs.transform(X))
    targets = torch.from_numpy((y - y.mean()) / y.std())
    base = model.network_.base.model.requires_grad_(True)
    kernel = empirical_ntk(base, inputs)
    values = torch.linalg.eigvalsh(kernel)
    assert model.smallest_eigenvalue_ == pytest.approx(float(values[0]))
    timed = LinearizedDifferenceRegressor(width=40, ridge=0.0, time=30.0, random_state=0).fit(X, y)
    true = targets - torch.linalg.matrix_exp(-kernel * 30.0 / values[-1]) @ targets
    np.testing.assert_allclose(timed.predict(X), true.numpy() * y.std() + y.mean(), rtol=1e-6, atol=1e-6)


def test_regressor_with_a_network_of_ones_own_and_several_targets():
    X, y = make_regression(40, 3, n_targets=2, random_state=0)

    def build(features, outputs):
        return nn.Sequential(nn.Linear(features, 30), nn.GELU(), nn.Linear(30, outputs))

    state = torch.get_rng_state()
    model = LinearizedDifferenceRegressor(build=build, random_state=3).fit(X, y)
    assert torch.equal(state, torch.get_rng_state())
    assert model.predict(X).shape == (40, 2)
    assert model.score(X, y) > 0.99
    again = LinearizedDifferenceRegressor(build=build, random_state=3).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), again.predict(X))


def test_wide_difference_networks_approach_the_infinite_ensemble():
    """(21): u_z = H_z H^-1 y for the section's network, its first layer trained."""
    generator = torch.Generator().manual_seed(1)
    x = functional.normalize(torch.randn(12, 6, dtype=torch.float64, generator=generator))
    y = torch.randn(8, dtype=torch.float64, generator=generator)
    limit = ww.duals.f("relu", (x @ x.T).clamp(-1, 1))
    true = limit[8:, :8] @ torch.linalg.solve(limit[:8, :8], y)
    errors = []
    for m in (300, 30_000):
        model = nn.Sequential(nn.Linear(6, m, bias=False), nn.ReLU(), nn.Linear(m, 1, bias=False)).double()
        nn.init.normal_(model[0].weight, generator=generator)
        model[2].weight.data = torch.randn(1, m, dtype=torch.float64, generator=generator).sign() / m**0.5
        kernel = empirical_ntk(model, x, train="first")
        errors.append(float((kernel[8:, :8] @ torch.linalg.solve(kernel[:8, :8], y) - true).norm() / y.norm()))
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 3


BAD = {
    "model: got 3": lambda: linearize(3),
    "none of its parameters requires gradients": lambda: linearize(nn.ReLU()),
    "difference: got 'yes'": lambda: linearize(nn.Linear(2, 1), difference="yes"),
    "eps: got 0": lambda: Difference(nn.Linear(2, 1), 0.0),
    "eps: got nan": lambda: Difference(nn.Linear(2, 1), float("nan")),
    "its output is tuple": lambda: linearize(nn.GRU(2, 2))(torch.ones(1, 2)),
    r"model: fails on x, Tensor of shape \(3, 2\) and dtype torch.int64, its weights being torch.float32: mat1": (
        lambda: linearize(nn.Linear(2, 1))(torch.ones(3, 2, dtype=torch.int64))
    ),
    r"model: fails on x, Tensor of shape \(3, 5\)": lambda: Difference(nn.Linear(2, 1))(torch.ones(3, 5)),
    "model: fails on x, ndarray of shape": lambda: linearize(nn.Linear(2, 1))(np.ones((3, 2))),
    "x1: got shape": lambda: tangent_features(nn.Linear(2, 1), torch.ones(0, 2)),
    "width: got 0": lambda: LinearizedDifferenceRegressor(width=0).fit([[0.0], [1.0]], [0.0, 1.0]),
    "time: got -1": lambda: LinearizedDifferenceRegressor(time=-1.0).fit([[0.0], [1.0]], [0.0, 1.0]),
    "ridge: got -1": lambda: LinearizedDifferenceRegressor(ridge=-1.0).fit([[0.0], [1.0]], [0.0, 1.0]),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused(message):
    with pytest.raises((InputError, InputTypeError), match=message):
        BAD[message]()


def test_what_is_refused_leaves_the_fast_way_open():
    net, x = linearize(nn.Linear(2, 1)), torch.ones(1, 2)
    with pytest.raises(InputError):
        net(x.long())
    assert torch.equal(net(x), net.base(x))
    assert net._forward_mode


def test_features_larger_than_memory_are_refused(monkeypatch):
    monkeypatch.setattr("widthwise._memory.available_memory", lambda device: 1000)
    with pytest.raises(InputError, match="model: what 4 examples have of its features takes .* are free"):
        tangent_features(nn.Linear(100, 100), torch.ones(4, 100))
