"""Gradient flow and gradient descent against autograd, SciPy, closed forms and each other."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn

from widthwise import flow
from widthwise.flow.ode import Effort, integrate
from widthwise.flow.shallow import ShallowSystem
from widthwise.flow.system import ModuleSystem, largest_eigenvalue
from widthwise.models import NodeScaled, Shallow, mlp
from widthwise.scaling import uniform, zipf


def data(n: int = 12, d: int = 4, k: int = 1, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    x = nn.functional.normalize(torch.randn(n, d, dtype=dtype), dim=1)
    return x, torch.randn(n, k, dtype=dtype)


def shallow(
    d: int = 4, m: int = 30, k: int = 1, gamma: float = 0.2, activation: str = "relu", seed: int = 0
) -> Shallow:
    torch.manual_seed(seed)
    return Shallow(d, zipf(m, 0.5, gamma), k, activation).double()


def sgd(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int, lr: float) -> nn.Module:
    """A loop that any user would write."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (model(x) - y).square().sum()).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("k", [1, 3])
def test_the_written_gradient_is_autograds(activation, k):
    x, y = data(k=k)
    models = [shallow(k=k, activation=activation, seed=s) for s in range(2)]
    many = (x.expand(2, *x.shape), y.expand(2, *y.shape))
    written, derived = ShallowSystem(models, *many), ModuleSystem(models, *many)
    # A displacement is (R, d, m) for one and (R, m d) for the other.
    state = 0.3 * torch.randn_like(written.start())
    flat = state.mT.flatten(1)
    mine, theirs = torch.empty_like(state), torch.empty_like(flat)
    torch.testing.assert_close(written.velocity(state, mine), derived.velocity(flat, theirs))
    torch.testing.assert_close(mine.mT.flatten(1), theirs)
    torch.testing.assert_close(written.residual(state), derived.residual(flat))
    v = torch.randn(2, 12 * k, dtype=torch.float64)
    torch.testing.assert_close(written.curvature(state, v), derived.curvature(flat, v))
    for points in (None, 5):
        torch.testing.assert_close(written.ntg(state, points), derived.ntg(flat, points))


@pytest.mark.parametrize("cache", [64, 2000])
def test_pieces_of_the_examples_change_nothing(monkeypatch, cache):
    x, y = data(k=2)
    whole = ShallowSystem([shallow(k=2)], x[None], y[None])
    monkeypatch.setattr("widthwise.flow.shallow._CACHE", cache)
    pieces = ShallowSystem([shallow(k=2)], x[None], y[None])
    state = torch.randn_like(whole.start())
    v = torch.randn(1, 24, dtype=torch.float64)
    a, b = torch.empty_like(state), torch.empty_like(state)
    torch.testing.assert_close(whole.velocity(state, a), pieces.velocity(state, b))
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(whole.residual(state), pieces.residual(state))
    torch.testing.assert_close(whole.curvature(state, v), pieces.curvature(state, v))


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("k", [1, 2])
def test_descent_is_the_loop_of_every_user(activation, k):
    x, y = data(k=k)
    model = shallow(k=k, activation=activation)
    expected = sgd(model, x, y, 40, 0.3)
    run = flow.train(model, x, y, steps=40, lr=0.3, method="gd", at=[0, 12.0])
    torch.testing.assert_close(model.weight, expected.weight)
    assert run["loss"][-1].item() == pytest.approx(0.5 * float((model(x) - y).detach().square().sum()))
    assert run.effort.gradients == 40


@pytest.mark.parametrize("build", ["mlp", "conv"])
def test_any_module_descends_and_flows(build):
    if build == "mlp":
        models = [mlp(4, 2, width=6, depth=2, activation="tanh").double() for _ in range(2)]
        x, y = torch.randn(8, 4, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
    else:
        models = [
            nn.Sequential(
                NodeScaled(nn.Sequential(nn.Conv2d(1, 3, 2), nn.Tanh()), zipf(3, 0.5, 0.2)),
                nn.Flatten(),
                nn.Linear(12, 2),
            ).double()
            for _ in range(2)
        ]
        x, y = torch.randn(8, 1, 3, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
        for model in models:
            model[2].bias.requires_grad_(False)
    expected = [sgd(model, x, y, 200, 0.005) for model in models]
    followed = copy.deepcopy(models)
    flow.train(models, x, y, steps=200, lr=0.005, method="gd")
    flow.train(followed, x, y, 1.0, rtol=1e-6)
    for model, flowed, other in zip(models, followed, expected, strict=True):
        for mine, along, theirs in zip(model.parameters(), flowed.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs)
            torch.testing.assert_close(along, theirs, atol=2e-2, rtol=2e-2)


def test_the_flow_agrees_with_scipy():
    x, y = data(n=6)
    model = shallow(m=8, activation="tanh")
    origin, out = model.weight.detach().clone().numpy(), model.out_weight.numpy()
    xs, ys = x.numpy() / 2, y.numpy()

    def velocity(_, w):
        z = xs @ w.reshape(8, 4).T
        r = ys - np.tanh(z) @ out.T
        return ((r @ out) / np.cosh(z) ** 2).T @ xs

    times = [1.0, 7.0, 30.0]
    exact = solve_ivp(
        lambda t, w: velocity(t, w).ravel(), (0, 30), origin.ravel(), t_eval=times, rtol=1e-11, atol=1e-13
    )
    seen = {"w": lambda s: torch.from_numpy(origin) + s.state.mT}
    run = flow.train(model, x, y, 30.0, record=seen, at=times, rtol=1e-7)
    for i in range(3):
        np.testing.assert_allclose(run["w"][i].numpy().ravel(), exact.y[:, i], atol=1e-5)


def test_the_error_falls_with_the_tolerance():
    x, y = data()
    errors = []
    reference = shallow(activation="tanh")
    flow.train(reference, x, y, 50.0, rtol=1e-9)
    for rtol in (1e-2, 1e-4, 1e-6):
        model = shallow(activation="tanh")
        flow.train(model, x, y, 50.0, rtol=rtol)
        errors.append(float((model.weight - reference.weight).detach().norm()))
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] < 0.3 * errors[1]
    assert errors[2] < 1e-3


def test_a_stiff_linear_flow_is_the_matrix_exponential_at_few_gradients():
    """With phi(z) = z the NTG is constant: r(t) = exp(-NTG t) r(0); here lambda_max t = 10^5."""
    x = torch.randn(30, 8, dtype=torch.float64) * torch.logspace(0, 2, 8, dtype=torch.float64)
    y = torch.randn(30, 1, dtype=torch.float64)
    model = Shallow(8, uniform(20), activation="linear").double()
    start = model(x).detach()
    kernel = x @ x.T / 8
    values, vectors = torch.linalg.eigh(kernel)
    t = 1e5 / float(values[-1])
    expected = vectors @ (torch.exp(-values * t).unsqueeze(1) * (vectors.T @ (y - start)))
    run = flow.train(model, x, y, t, rtol=1e-4)
    torch.testing.assert_close(y - model(x).detach(), expected, atol=2e-3 * float((y - start).norm()), rtol=0)
    assert run.effort.gradients < 3000


def test_flow_and_descent_agree_as_the_step_shrinks():
    x, y = data(n=20)
    followed = shallow(m=200)
    start = followed(x).detach()
    flow.train(followed, x, y, 20.0, rtol=1e-4)
    errors = []
    for lr in (1.0, 0.1, 0.01):
        model = shallow(m=200)
        flow.train(model, x, y, 20.0, lr=lr, method="gd")
        errors.append(float((model(x) - followed(x)).detach().norm() / (y - start).norm()))
    assert errors[2] < 2e-3
    assert errors[2] < errors[0]


def test_together_is_one_after_another_with_data_of_their_own():
    sets = [data(n=15) for _ in range(3)]
    models = [shallow(gamma=g, seed=s) for s, g in enumerate((1.0, 0.5, 0.0))]
    alone = copy.deepcopy(models)
    xs, ys = zip(*sets, strict=True)
    together = flow.train(models, xs, ys, steps=100, lr=0.5, method="gd", record=("loss", "movement"))
    for i, model in enumerate(alone):
        run = flow.train(model, *sets[i], steps=100, lr=0.5, method="gd", record=("loss", "movement"))
        torch.testing.assert_close(model.weight, models[i].weight)
        torch.testing.assert_close(run["loss"], together["loss"][i])
        torch.testing.assert_close(run["movement"], together["movement"][i])


def test_precision_is_the_networks():
    x, y = data()
    double = shallow()
    single = copy.deepcopy(double).float()
    flow.train(double, x, y, 30.0)
    flow.train(single, x.float(), y.float(), 30.0)
    assert single.weight.dtype == torch.float32
    torch.testing.assert_close(single(x.float()).double(), double(x), atol=5e-3, rtol=5e-3)


def test_records_between_steps_are_those_of_a_flow_that_ends_there():
    x, y = data()
    model = shallow(activation="tanh", m=100)
    run = flow.train(model, x, y, 40.0, record=("loss", "movement"), at=[3.0, 0.0, 11.0], rtol=1e-6)
    assert run.times.tolist() == [0.0, 3.0, 11.0]
    for i, t in ((1, 3.0), (2, 11.0)):
        other = shallow(activation="tanh", m=100)
        end = flow.train(other, x, y, t, record=("loss", "movement"), rtol=1e-6)
        torch.testing.assert_close(run["loss"][i], end["loss"][-1], rtol=1e-4, atol=0)
        torch.testing.assert_close(run["movement"][i], end["movement"][-1], rtol=1e-3, atol=1e-5)


def test_observers_measure_what_they_say():
    x, y = data()
    model = shallow()
    before = model.weight.detach().clone()
    names = tuple(flow.OBSERVERS)
    run = flow.train(model, x, y, 30.0, record=names, points=7)
    moved = (model.weight.detach() - before).norm(dim=1)
    torch.testing.assert_close(run["movement"][-1], moved)
    assert float(run["largest_movement"][-1]) == pytest.approx(float(moved.max()))
    assert float(run["loss"][-1]) == pytest.approx(0.5 * float((model(x) - y).detach().square().sum()))
    ntgs = []
    for w in (before, model.weight.detach()):
        slope = (x[:7] @ w.T > 0).double()
        ntgs.append((x[:7] @ x[:7].T / 4) * ((slope * model.lam) @ slope.T))
    torch.testing.assert_close(run["ntg"][-1], ntgs[1])
    change = ntgs[1] - ntgs[0]
    assert float(run["ntg_change"][-1]) == pytest.approx(float(torch.linalg.matrix_norm(change, 2)))
    assert float(run["ntg_change_frobenius"][-1]) == pytest.approx(float(torch.linalg.matrix_norm(change)))
    eigenvalues = torch.linalg.eigvalsh(ntgs[1])
    assert float(run["smallest_eigenvalue"][-1]) == pytest.approx(float(eigenvalues[0]), abs=1e-12)
    assert float(run["largest_eigenvalue"][-1]) == pytest.approx(float(eigenvalues[-1]))
    assert float(run["ntg_change"][0]) == 0.0


def test_the_power_method_finds_the_largest_eigenvalue():
    x, y = data(n=25, k=2)
    models = [shallow(k=2, seed=s) for s in range(2)]
    system = ShallowSystem(models, x.expand(2, 25, 4), y.expand(2, 25, 2))
    value, _, _ = largest_eigenvalue(system, system.start(), tolerance=1e-10, iterations=2000)
    for i, model in enumerate(models):
        jacobian = torch.autograd.functional.jacobian(
            lambda w, m=model: torch.func.functional_call(m, {"weight": w}, (x,)).flatten(), model.weight
        ).flatten(1)
        assert float(value[i]) == pytest.approx(float(torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1]), rel=1e-6)


def test_a_perfect_fit_stays():
    x, _ = data()
    model = shallow()
    before = model.weight.detach().clone()
    flow.train(model, x, model(x).detach(), 100.0)
    torch.testing.assert_close(model.weight.detach(), before)


@pytest.mark.parametrize(("gamma", "alpha"), [(1.0, None), (0.5, 0.7), (0.2, 0.5)])
def test_the_loss_stays_under_its_bound_and_the_eigenvalue_over_its_floor(gamma, alpha):
    x, y = data(n=10, d=6)
    torch.manual_seed(0)
    model = Shallow(6, zipf(4000, alpha, gamma)).double()
    kappa = flow.kappa("relu", x)
    run = flow.train(model, x, y, 400.0, record=("loss", "smallest_eigenvalue", "movement"))
    bound = flow.loss_bound(run.times, float(run["loss"][0]), gamma, kappa)
    assert (run["loss"] <= bound * (1 + 1e-6)).all()
    assert (run["smallest_eigenvalue"] >= flow.eigenvalue_floor(gamma, kappa)).all()
    for t, moved in zip(run.times.tolist(), run["movement"], strict=True):
        limit = flow.movement_bound("relu", x, model.lam, float(run["loss"][0]), gamma, kappa, t)
        assert (moved <= limit * (1 + 1e-6) + 1e-9).all()


@pytest.mark.parametrize("t", [20.0, 300.0])
def test_gamma_one_tends_to_kernel_regression(t):
    """With H = f(X X') / d of section 4's machinery; the difference falls about as 1 / sqrt(m)."""
    from widthwise import duals

    x, y = data(n=12, d=5)
    z, _ = data(n=30, d=5)
    both = torch.cat([x, z])
    gram = duals.f("relu", (both @ both.T).clamp(-1, 1).fill_diagonal_(1.0)) / 5
    values, vectors = torch.linalg.eigh(gram[:12, :12])
    errors = []
    for m in (100, 1600, 25600):
        found = []
        for seed in range(3):
            torch.manual_seed(seed)
            model = Shallow(5, uniform(m)).double()
            begun, begun_z = model(x).detach(), model(z).detach()
            flow.train(model, x, y, t, rtol=3e-3)
            weights = ((1 - torch.exp(-values * t)) / values).unsqueeze(1) * (vectors.T @ (y - begun))
            expected = gram[12:, :12] @ (vectors @ weights)
            found.append(float((model(z).detach() - begun_z - expected).norm() / expected.norm()))
        errors.append(sum(found) / 3)
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    assert errors[2] < 0.03


@pytest.mark.slow
def test_a_flow_that_has_ended_costs_nothing_more():
    x, y = data(n=4)
    short, long = (shallow(m=60, gamma=1.0, activation="tanh") for _ in range(2))
    first = flow.train(short, x, y, 1e7)
    second = flow.train(long, x, y, 1e15, record=("loss", "movement"), at=[0.0, 1e7, 1e14, 1e15])
    assert second.effort.gradients < 2 * first.effort.gradients
    assert float(second["loss"][-1]) < 1e-24
    torch.testing.assert_close(second["movement"][-1], second["movement"][-2])
    torch.testing.assert_close(long.weight, short.weight, atol=1e-6, rtol=1e-6)


def test_effort_is_counted():
    x, y = data()
    effort = Effort()
    system = ShallowSystem([shallow()], x[None], y[None])
    assert len(list(integrate(system, [1.0, 2.0], 1e-3, effort))) == 2
    assert effort.gradients >= 2 * effort.steps
    assert math.isfinite(effort.products)
