from __future__ import annotations

import pytest
import torch
from compression_cases import gaussian, uniform, unit

from widthwise.activations import get
from widthwise.compression import (
    FLAT,
    FRAMES,
    SPHERE,
    GaussianNeurons,
    Target,
    UnitNeurons,
    etf_objective,
    full_objective,
    gradient_descent,
    lbfgs,
    limit_energy,
    network_distance,
    random_frames,
    simplex_etf,
)
from widthwise.errors import InputError, InputTypeError


def rayleigh(A):
    return lambda X: (((X @ A) * X).sum((-1, -2)), None)


@pytest.mark.parametrize("manifold", [SPHERE, FRAMES, FLAT])
def test_tangents_are_projections_and_steps_stay_on_the_manifold(manifold):
    X = random_frames(3, 2, 5)
    G = gaussian(3, 2, 5)
    T = manifold.tangent(X, G)
    assert torch.allclose(manifold.tangent(X, T), T, atol=1e-12)
    Y = manifold.retract(X, 0.3 * T)
    assert torch.allclose(manifold.retract(X, 1e-6 * T), X + 1e-6 * T, atol=1e-11)
    if manifold is SPHERE:
        assert torch.allclose(Y.norm(dim=-1), torch.ones(3, 2, dtype=torch.float64))
    if manifold is FRAMES:
        assert torch.allclose(Y @ Y.mT, torch.eye(2, dtype=torch.float64).expand(3, 2, 2), atol=1e-12)


def test_the_smallest_eigenvalue_from_every_start():
    A = gaussian(6, 6)
    A = A + A.T
    found = lbfgs(rayleigh(A), unit(8, 1, 6), tolerance=1e-9)
    least = torch.linalg.eigvalsh(A)[0]
    assert torch.allclose(found.values[-1], least.expand(8), atol=1e-10)
    assert (found.values.diff(dim=0) <= 1e-12).all()


def test_the_smallest_eigenvalues_as_a_frame():
    A = gaussian(6, 6)
    A = A + A.T
    found = lbfgs(rayleigh(A), random_frames(4, 3, 6), manifold=FRAMES, tolerance=1e-9)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(A)[:3].sum()), abs=1e-10)


def test_a_quadratic_on_the_plane_with_its_metric_takes_a_few_steps():
    H, c = torch.diag(torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)), gaussian(3, 2)

    def objective(X):
        return (0.5 * X * (H @ X) - c * X).sum((-1, -2)), lambda: H.expand(len(X), 3, 3)

    found = lbfgs(objective, torch.zeros(1, 3, 2, dtype=torch.float64), manifold=FLAT, tolerance=1e-10)
    assert torch.allclose(found.best, torch.linalg.solve(H, c), rtol=1e-6)


def test_every_start_goes_its_own_way():
    objective = limit_energy("relu")
    starts = unit(3, 5, 7)
    together = lbfgs(objective, starts)
    for k in range(3):
        alone = lbfgs(objective, starts[k : k + 1])
        steps = len(alone.values)
        assert torch.allclose(together.values[:steps, k], alone.values[:, 0], atol=1e-9)


@pytest.mark.parametrize(("M", "iterations"), [(5, 100), (10, 200)])
def test_both_optimisers_reach_the_simplex_to_twelve_digits(M, iterations):
    objective, starts = limit_energy("relu"), unit(3, M, 30)
    best = torch.full((3,), etf_objective(M, "relu"), dtype=torch.float64)
    slow = gradient_descent(objective, starts, step=0.6, iterations=iterations)
    fast = lbfgs(objective, starts, tolerance=1e-7)
    assert torch.allclose(-slow.values[-1], best, rtol=0, atol=1e-12)
    assert torch.allclose(-fast.values[-1], best, rtol=0, atol=1e-12)
    assert fast.evaluations * 4 < slow.evaluations


def test_gradient_descent_walks_along_the_gradient_and_is_watched():
    objective, start = limit_energy("relu"), unit(2, 4, 5)
    frame = simplex_etf(4, 5)
    walk = gradient_descent(
        objective, start, step=0.3, iterations=3, watch=lambda V: network_distance(V, frame.expand_as(V), "relu")
    )
    V = start.clone().requires_grad_()
    (G,) = torch.autograd.grad(objective(V)[0].sum(), V)
    first = SPHERE.retract(start, -0.3 * SPHERE.tangent(start, G))
    assert torch.allclose(walk.values[1], objective(first)[0])
    assert walk.watched is not None
    assert torch.allclose(walk.watched[1], network_distance(first, frame, "relu"))
    assert walk.values.shape == walk.watched.shape == (4, 2)
    assert (walk.values.diff(dim=0) < 0).all()


def test_the_full_problem_is_solved_alike_with_and_without_the_metric():
    target = Target(unit(30, 4), uniform(30, 1), UnitNeurons(get("relu")))
    objective, starts = full_objective(target), unit(6, 3, 4)
    with_metric = lbfgs(objective, starts, iterations=100, tolerance=1e-7)
    without = lbfgs(lambda V: (objective(V)[0], None), starts, iterations=150, tolerance=1e-7)
    assert with_metric.value == pytest.approx(without.value, rel=1e-4)
    slow = gradient_descent(objective, starts, step=0.5, iterations=100)
    assert with_metric.value <= slow.value


def test_the_metric_is_the_second_derivative_for_orthogonal_inputs():
    """For the linear activation slopes are constant, and 2 bb' is the exact second derivative of |sum b_i v_i|^2."""
    b = gaussian(3, 1)
    layer = UnitNeurons(get("linear"))(unit(3, 4))
    assert torch.allclose(2 * (b @ b.T) * layer.slopes(), 2 * b @ b.T, atol=1e-12)


def test_neurons_of_any_length_move_freely():
    kind = GaussianNeurons(get("gelu"))
    target = Target(gaussian(20, 5), uniform(20, 1), kind)
    start = target.W[None, :4].clone()
    found = lbfgs(full_objective(target), start, manifold=FLAT, iterations=40)
    assert found.value < 0.2 * float(found.values[0])
    assert target.least_loss(found.best) / target.power == pytest.approx(found.value, rel=1e-6)


def test_a_start_at_the_optimum_stays():
    start = simplex_etf(5, 6)[None]
    found = lbfgs(limit_energy("relu"), start, tolerance=1e-7)
    assert len(found.values) == 1
    assert torch.equal(found.best, start[0])


def test_equal_neurons_do_no_harm():
    start = unit(2, 1, 5).expand(2, 4, 5).clone()
    found = lbfgs(limit_energy("relu"), start)
    assert torch.isfinite(found.values).all()


def test_activations_with_jumps_have_no_metric_but_descend():
    start = unit(2, 4, 5)
    assert limit_energy("step")(start)[1] is None
    found = lbfgs(limit_energy("step"), start, iterations=20)
    assert (found.values[-1] < found.values[0]).all()


@pytest.mark.parametrize(("step", "iterations"), [(0.0, 3), (-1.0, 3), (float("nan"), 3), (0.1, -1)])
def test_bad_settings_of_gradient_descent(step, iterations):
    with pytest.raises(InputError, match="step|iterations"):
        gradient_descent(limit_energy("relu"), unit(1, 2, 2), step=step, iterations=iterations)


def test_bad_settings_of_lbfgs():
    with pytest.raises(InputError, match="memory"):
        lbfgs(limit_energy("relu"), unit(1, 2, 2), memory=0)
    with pytest.raises(InputTypeError, match="iterations"):
        lbfgs(limit_energy("relu"), unit(1, 2, 2), iterations=1.5)  # type: ignore[arg-type]
