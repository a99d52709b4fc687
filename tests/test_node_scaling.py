"""Asymmetrical node scaling against independent oracles: autograd, a general ODE solver, simulation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import nn

from widthwise import flow, nodes, scaling
from widthwise.errors import InputError
from widthwise.models import Shallow, mlp, node_scaled


def problem(n: int = 6, d: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    x = nn.functional.normalize(torch.randn(n, d, dtype=torch.float64))
    return x, torch.sin(3 * x.sum(1))


def shallow(m: int = 30, d: int = 4, gamma: float = 0.3, activation: str = "tanh") -> Shallow:
    return node_scaled(d, width=m, gamma=gamma, alpha=0.5, activation=activation).double()


@settings(deadline=None)
@given(m=st.integers(1, 300), alpha=st.floats(0.05, 0.95), gamma=st.floats(0, 1))
def test_zipf_is_the_formula_starts_at_one_and_sums_to_one(m, alpha, gamma):
    lam = scaling.zipf(m, alpha, gamma)
    j = torch.arange(1, m + 1, dtype=torch.float64)
    share = j ** (-1 / alpha) / (j ** (-1 / alpha)).sum()
    torch.testing.assert_close(lam, gamma / m + (1 - gamma) * share, rtol=1e-12, atol=1e-300)
    assert abs(float(lam.sum()) - 1) <= 1e-12
    assert bool((lam.diff() <= 1e-18).all())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((3, 0.0), "alpha"), ((3, 1.0), "alpha"), ((3, 0.5, 1.5), "gamma"), ((3, 0.5, -0.1), "gamma"), ((0, 0.5), "m:")],
)
def test_scalings_out_of_range_are_named(arguments, name):
    with pytest.raises(InputError, match=name):
        scaling.zipf(*arguments)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_step_of_descent_is_autograds(activation):
    x, y = problem()
    model = shallow(activation=activation)
    start = model.weight.detach().clone()
    loss = 0.5 * (y - model(x)[:, 0]).square().sum()
    (grad,) = torch.autograd.grad(loss, model.weight)
    run = flow.train(model, x, y, steps=1, lr=0.01, method="gd", at=[0.0, 0.01])
    torch.testing.assert_close(model.weight.detach(), start - 0.01 * grad, rtol=1e-10, atol=1e-12)
    assert float(run["loss"][0]) == pytest.approx(loss.item())


def test_the_flow_is_scipys():
    x, y = problem()
    model = shallow()
    shape = model.weight.shape
    twin = shallow()
    twin.load_state_dict(model.state_dict())

    def slope(_, w):
        twin.weight.data = torch.from_numpy(w).view(shape)
        (grad,) = torch.autograd.grad(0.5 * (y - twin(x)[:, 0]).square().sum(), twin.weight)
        return -grad.flatten().numpy()

    exact = solve_ivp(slope, (0, 40), model.weight.detach().flatten().numpy(), rtol=1e-10, atol=1e-12).y[:, -1]
    flow.train(model, x, y, t_end=40.0, rtol=1e-6)
    error = (model.weight.detach().flatten() - torch.from_numpy(exact)).norm() / torch.from_numpy(exact).norm()
    assert float(error) < 1e-4


def test_many_networks_together_are_each_alone():
    x, y = problem()
    models = [shallow(gamma=g) for g in (0.1, 0.5, 1.0)]
    copies = [shallow(gamma=g) for g in (0.1, 0.5, 1.0)]
    for copy, model in zip(copies, models, strict=True):
        copy.load_state_dict(model.state_dict())
    together = flow.train(models, x, y, steps=50, lr=0.05, method="gd")
    for i, copy in enumerate(copies):
        alone = flow.train(copy, x, y, steps=50, lr=0.05, method="gd")
        torch.testing.assert_close(together["loss"][i], alone["loss"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(models[i].weight, copy.weight, rtol=1e-9, atol=1e-12)


def test_observers_are_what_they_say():
    x, y = problem()
    model = shallow()
    jacobian = torch.autograd.functional.jacobian(
        lambda w: torch.func.functional_call(model, {"weight": w}, (x,))[:, 0], model.weight.detach()
    ).flatten(1)
    names = ("ntg", "smallest_eigenvalue", "movement", "ntg_change")
    run = flow.train(model, x, y, t_end=5.0, record=names, at=[0.0, 5.0])
    ntg = jacobian @ jacobian.T
    torch.testing.assert_close(run["ntg"][0], ntg, rtol=1e-10, atol=1e-12)
    assert float(run["smallest_eigenvalue"][0]) == pytest.approx(float(torch.linalg.eigvalsh(ntg)[0]), rel=1e-8)
    assert float(run["movement"][0].abs().max()) == 0 == float(run["ntg_change"][0])
    change = torch.linalg.matrix_norm(run["ntg"][1] - run["ntg"][0], ord=2)
    assert float(run["ntg_change"][1]) == pytest.approx(float(change), rel=1e-8)


def test_an_unstable_step_is_refused_with_the_largest_stable_one():
    x, y = problem()
    with pytest.raises(InputError, match="lr: got 10000, .* allowed is a step below"):
        flow.train(shallow(), x, y, steps=10, lr=1e4, method="gd")


def test_the_mean_and_the_total_variance_of_the_ntg_by_simulation():
    x, _ = problem()
    lam = scaling.zipf(5, 0.5, 0.2)

    def ntg() -> torch.Tensor:
        slopes = (x @ torch.randn(4, 5, dtype=torch.float64) / 2 > 0).double()
        return (x @ x.T / 4) * ((slopes * lam) @ slopes.T)

    draws = torch.stack([ntg() for _ in range(20_000)])
    mean = flow.mean_ntg("relu", x)
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=5e-3)
    variance = (draws - mean).square().sum((1, 2)).mean()
    assert float(variance) == pytest.approx(flow.total_variance("relu", x, lam), rel=0.03)


def test_the_loss_stays_below_the_guaranteed_bound():
    x, y = problem()
    kappa_n = flow.kappa("relu", x)
    for gamma in (0.5, 1.0):
        model = node_scaled(4, width=4000, gamma=gamma, alpha=0.5).double()
        run = flow.train(model, x, y, t_end=200.0)
        bound = flow.loss_bound(run.times, run["loss"][0], gamma, kappa_n)
        assert bool((run["loss"] <= bound * (1 + 1e-9)).all())
        rate = gamma * kappa_n * run.times[-1] / 2
        assert float(bound[-1]) == pytest.approx(float(run["loss"][0] * torch.exp(-rate)))


def test_at_gamma_one_the_flow_is_kernel_regression_as_the_width_grows():
    x, y = problem()
    kernel = flow.mean_ntg("relu", x)
    values, vectors = torch.linalg.eigh(kernel)
    decay = vectors @ (torch.exp(-values * 20.0) * (vectors.T @ torch.stack([y]).T)[:, 0])
    errors = []
    for m in (200, 20_000):
        torch.manual_seed(1)
        model = Shallow(4, scaling.uniform(m)).double()
        model.sign[:, 1::2] = -model.sign[:, ::2]
        model.weight.data[1::2] = model.weight.data[::2]  # so that the function starts at zero
        flow.train(model, x, y, t_end=20.0, rtol=1e-5)
        errors.append(float((y - model(x)[:, 0].detach() - decay).norm() / y.norm()))
    assert errors[1] < 0.02
    assert errors[1] < errors[0]


@pytest.mark.parametrize("kind", ["lam", "lam_w2", "activation"])
def test_removing_nodes_is_setting_their_outputs_to_zero(kind):
    x, _ = problem()
    model = shallow(m=12)
    scores = nodes.importance(model, kind, x)["nodes"]
    keep = nodes.most_important(scores, 5)
    smaller = nodes.remove_nodes(model, {"nodes": keep})
    expected = model.features(x)[:, keep] @ model.out_weight[:, keep].T
    torch.testing.assert_close(smaller(x), expected, rtol=1e-10, atol=1e-12)
    assert sum(p.numel() for p in smaller.parameters()) == 5 * (4 + 1)


def test_removing_nodes_of_a_deep_perceptron():
    model = mlp(4, 3, width=8, depth=2, activation="tanh").double()
    x, _ = problem()
    smaller = nodes.remove_nodes(model, {"hidden1": [0, 3], "hidden2": [1, 2, 7]})
    hidden = torch.zeros(6, 8, dtype=torch.float64)
    hidden[:, [0, 3]] = model.act1(model.hidden1(x))[:, [0, 3]]
    second = torch.zeros(6, 8, dtype=torch.float64)
    second[:, [1, 2, 7]] = model.act2(model.hidden2(hidden))[:, [1, 2, 7]]
    torch.testing.assert_close(smaller(x), model.output(second), rtol=1e-10, atol=1e-12)


def test_duplicate_inputs_warn_and_have_no_smallest_eigenvalue():
    x, _ = problem()
    with pytest.warns(flow.DegenerateWarning):
        assert flow.kappa("relu", torch.cat([x, x[:1]])) == 0


def test_the_limit_of_the_sum_of_squares_is_the_zeta_quotient():
    alpha = 0.5
    exact = (math.pi**4 / 90) / (math.pi**2 / 6) ** 2  # zeta(4) / zeta(2)^2
    assert scaling.zipf_asymmetry(alpha) == pytest.approx(exact)
    assert float(scaling.zipf(10**6, alpha).square().sum()) == pytest.approx(exact, rel=1e-5)
