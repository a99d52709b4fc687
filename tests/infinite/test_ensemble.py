"""Predictions of the infinite ensemble against the differential equation, sampling, and trained finite networks."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import widthwise as ww
from widthwise.errors import InputTypeError
from widthwise.infinite import MLP, Ensemble
from widthwise.infinite.estimators import InfiniteWidthClassifier, InfiniteWidthRegressor


def problem(n=7, m=4):
    x, new = torch.randn(n, 3, dtype=torch.float64), torch.randn(m, 3, dtype=torch.float64)
    return MLP(2, "relu", 1.4, 0.3), x, new, torch.randn(n, 2, dtype=torch.float64)


def flow(H, H_new, y, ridge, time, steps=20000):
    """Outputs that begin at 0, by small steps of descent: alpha stands for the parameters' motion."""
    alpha = torch.zeros_like(y)
    for _ in range(steps):
        alpha = alpha + time / steps * (y - H @ alpha - ridge * alpha)
    return H_new @ alpha


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_mean_solves_the_differential_equation(ridge):
    network, x, new, y = problem()
    H, H_new = network.ntk(x), network.ntk(new, x)
    ensemble = Ensemble(H, y, ridge=ridge)
    assert torch.allclose(ensemble.mean(H_new, 0.7), flow(H, H_new, y, ridge, 0.7), atol=1e-4)
    ridged = H + ridge * torch.eye(len(H))
    assert torch.allclose(ensemble.mean(H_new), H_new @ torch.linalg.solve(ridged, y), atol=1e-9)
    assert torch.allclose(ensemble.mean(H_new, 1e9), ensemble.mean(H_new), atol=1e-9)
    assert torch.equal(ensemble.mean(H_new, 0.0), torch.zeros(4, 2, dtype=torch.float64))


def test_descent_is_descent_and_its_limit_is_the_flow():
    network, x, new, y = problem()
    H, H_new = network.ntk(x), network.ntk(new, x)
    rate = 0.9 * Ensemble(H, y).largest_learning_rate
    assert torch.allclose(Ensemble(H, y, learning_rate=rate).mean(H_new, 9), flow(H, H_new, y, 0.0, 9 * rate, 9))
    slow = Ensemble(H, y, learning_rate=1e-7).mean(H_new, 10**7)
    assert torch.allclose(slow, Ensemble(H, y).mean(H_new, 1.0), rtol=1e-5)


@pytest.mark.parametrize("time", [0.3, math.inf])
def test_covariance_is_that_of_sampled_initial_functions(time):
    network, x, new, y = problem()
    ensemble = Ensemble(network.ntk(x), y)
    across, joint = network.ntk(new, x), network.nngp(torch.cat([x, new]))
    draws = torch.linalg.cholesky(joint + 1e-12 * torch.eye(11)) @ torch.randn(11, 40000, dtype=torch.float64)
    ends = torch.stack(
        [
            ensemble.from_initial(across, u[:7, None].expand(7, 2), u[7:, None].expand(4, 2), time)[:, 0]
            for u in draws.T[:4000]
        ]
    )
    K = (joint[:7, :7], joint[7:, :7], joint[7:, 7:])
    covariance = ensemble.covariance(across, *K, time)
    assert torch.allclose(torch.cov(ends.T), covariance, atol=0.1 * float(covariance.diagonal().max()))
    assert torch.allclose(
        ends.mean(0), ensemble.mean(across, time)[:, 0], atol=5 * float(covariance.max() / 4000) ** 0.5
    )
    variance = ensemble.covariance(across, K[0], K[1], K[2].diagonal(), time)
    assert torch.allclose(variance, covariance.diagonal(), rtol=1e-9)


def test_trained_inputs_have_no_variance_left():
    network, x, _, y = problem()
    H, K = network.ntk(x), network.nngp(x)
    assert Ensemble(H, y).covariance(H, K, K, K.diagonal()).abs().max() < 1e-9


def test_wide_networks_trained_by_descent_scatter_as_foretold():
    torch.manual_seed(0)
    x, new = torch.randn(5, 2), torch.randn(3, 2)
    y, width, steps, rate, count = torch.randn(5), 1024, 60, 0.05, 60
    U, v = torch.randn(count, width, 2), torch.randn(count, 1, width)
    U.requires_grad_(), v.requires_grad_()

    def outputs(x):
        return (v @ torch.erf(U @ x.mT / 2**0.5)).squeeze(1) / width**0.5

    for _ in range(steps):
        loss = (outputs(x) - y).square().sum() / 2
        for part, gradient in zip((U, v), torch.autograd.grad(loss, (U, v)), strict=True):
            part.data -= rate * gradient
    network = MLP(1, "erf")
    ensemble = Ensemble(network.ntk(x.double()), y.double(), learning_rate=rate)
    nngp, ntk = network.kernels(new.double(), x.double())
    mean = ensemble.mean(ntk, steps)
    std = ensemble.covariance(ntk, network.nngp(x.double()), nngp, network.diagonal(new.double()).nngp, steps).sqrt()
    ends = outputs(new).detach().double()
    assert ((ends.mean(0) - mean).abs() < 4 * std / count**0.5 + 0.01).all()
    assert ((ends.std(0) / std - 1).abs() < 4 / (2 * count) ** 0.5).all()


def test_a_ridge_beside_which_the_kernel_is_lost_is_not_called_too_small():
    kernel = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ww.InputError, match=r"ridge: got 1e\+300, beside which .* lost; allowed is a smaller one"):
        Ensemble(kernel, torch.ones(3, dtype=torch.float64), ridge=1e300).mean(kernel)


def test_a_singular_kernel_names_its_eigenvalue_and_a_ridge_that_does():
    x = torch.randn(6, 3, dtype=torch.float64)
    x[3] = x[1]
    H, y = MLP(1, "relu", 1.4, 0.3).ntk(x), torch.randn(6, dtype=torch.float64)
    with pytest.raises(ww.InputError, match="ridge: got 0, but the kernel matrix is singular, its smallest") as error:
        Ensemble(H, y).mean(H)
    ridge = float(str(error.value).split("a ridge of about ")[1].split(" ")[0])
    assert torch.isfinite(Ensemble(H, y, ridge=ridge).mean(H)).all()
    assert torch.isfinite(Ensemble(H, y).mean(H, 3.0)).all()  # at finite time there is nothing to divide by


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda H, y: Ensemble(H[:2], y), "ntk: got shape (2, 7)"),
        (lambda H, y: Ensemble(H.triu(), y), "ntk: got a matrix that differs from its transpose by up to"),
        (lambda H, y: Ensemble(H, y).covariance(H, H.triu(), H, H), "prior: got a matrix that differs from its"),
        (lambda H, y: Ensemble(H, y[:2]), "targets: got shape (2, 2), allowed is (7,) or (7, k)"),
        (lambda H, y: Ensemble(H * math.nan, y), "ntk: 49 of 49 values are NaN"),
        (lambda H, y: Ensemble(H, y, ridge=-1.0), "ridge: got -1.0"),
        (lambda H, y: Ensemble(H, y, learning_rate=1e3), "learning_rate: got 1000, with which descent diverges"),
        (lambda H, y: Ensemble(H, y).mean(H, -1.0), "time: got -1.0"),
        (lambda H, y: Ensemble(H, y, learning_rate=1e-3).mean(H, 0.5), "time: got 0.5"),
        (lambda H, y: Ensemble(H, y).mean(H[:, :3]), "across: got shape (7, 3), allowed is (m, 7)"),
    ],
)
def test_bad_ensembles_are_named(make, message):
    network, x, _, y = problem()
    with pytest.raises((ww.InputError, ww.InputTypeError)) as error:
        make(network.ntk(x), y)
    assert message in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_kernel_that_is_symmetric_but_for_rounding_is_taken(dtype):
    torch.manual_seed(0)
    x = torch.randn(300, 40)
    H = (x @ x.mT + x @ (1e-7 * torch.randn(40, 300)) + torch.eye(300)).to(dtype)
    assert not torch.equal(H, H.mT)
    assert torch.isfinite(Ensemble(H, torch.ones(300, dtype=dtype)).mean(H)).all()


@parametrize_with_checks([InfiniteWidthRegressor(), InfiniteWidthClassifier()])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_regressor_is_the_ensemble():
    network, x, new, y = problem()
    model = InfiniteWidthRegressor(network, ridge=0.0, time=2.0).fit(x.numpy(), y.numpy())
    ensemble = Ensemble(network.ntk(x), y)
    mean, covariance = model.predict(new.numpy(), return_cov=True)
    assert torch.allclose(torch.from_numpy(mean), ensemble.mean(network.ntk(new, x), 2.0))
    _, std = model.predict(new.numpy(), return_std=True)
    assert torch.allclose(torch.from_numpy(std**2), torch.from_numpy(covariance).diagonal())
    assert model.largest_learning_rate_ == pytest.approx(2 / float(torch.linalg.eigvalsh(network.ntk(x))[-1]))
    still = InfiniteWidthRegressor(network, ridge=0.0, time=2.0, initial_function=False).fit(x.numpy(), y.numpy())
    assert (still.predict(new.numpy(), return_std=True)[1] == 0).all()
    assert (still.predict(new.numpy()) == model.predict(new.numpy())).all()


def test_classifier_learns_digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    model = InfiniteWidthClassifier(depth=1).fit(X[:600] / 8 - 1, y[:600])
    assert model.score(X[600:] / 8 - 1, y[600:]) > 0.93


def test_estimators_name_bad_arguments():
    X = [[0.0, 1.0], [1.0, 0.0]]
    for model, message in (
        (InfiniteWidthRegressor(input_shape=(3, 4)), "input_shape: got"),
        (InfiniteWidthRegressor(nn.Linear(2, 1)), "network: got"),
        (InfiniteWidthRegressor(learning_rate=100.0), "diverges"),
    ):
        with pytest.raises((ww.InputError, ww.InputTypeError), match=message):
            model.fit(X, [0.0, 1.0])
    with pytest.raises(ww.InputError, match="return_cov"):
        InfiniteWidthRegressor().fit(X, [0.0, 1.0]).predict(X, return_std=True, return_cov=True)


def test_an_ensemble_wants_one_dtype():
    network, x, new, y = problem()
    H, H_new = network.ntk(x), network.ntk(new, x)
    with pytest.raises(InputTypeError, match=r"targets: got dtype torch.int64, allowed is that of ntk, torch.float64"):
        Ensemble(H, y.long())
    with pytest.raises(InputTypeError, match=r"targets: got dtype torch.float64, allowed .* torch.float32"):
        Ensemble(H.float(), y)
    with pytest.raises(InputTypeError, match="ntk: got dtype torch.int64, allowed are floating-point numbers"):
        Ensemble(torch.eye(7, dtype=torch.int64), y)
    with pytest.raises(InputTypeError, match="across: got dtype torch.float32"):
        Ensemble(H, y).mean(H_new.float())
