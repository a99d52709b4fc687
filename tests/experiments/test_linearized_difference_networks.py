"""The experiments on linearized difference networks: their short cuts against plain networks and autograd."""

import math

import pytest
import torch

from widthwise.activations import get
from widthwise.activations.base import affine
from widthwise.errors import InputError
from widthwise.experiments.linearized_difference_networks import fig2, fig3, fig4, fig5, table1
from widthwise.experiments.linearized_difference_networks.difference import _Part, start_less
from widthwise.experiments.linearized_difference_networks.shallow import (
    descend,
    limit_prediction,
    linearized_prediction,
    start,
    zeros_and_ones,
)
from widthwise.linearized import linearize
from widthwise.models.node_scaled import Shallow


def network(problem, first, name):
    model = Shallow(problem.x.shape[1], [1 / len(first.signs)] * len(first.signs), 1, name).double()
    model.weight.data = first.weights * math.sqrt(problem.x.shape[1])  # which divides by it
    model.sign.copy_(first.signs.sign()[None])
    return model


def trained(net, problem, targets, rate, steps):
    sgd = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        sgd.zero_grad()
        (0.5 * (targets - net(problem.x)[:, 0]).square().sum()).backward()
        sgd.step()
    return net(problem.test)[:, 0].detach()


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_descent_on_preactivations_is_descent_on_weights(name):
    problem = zeros_and_ones("digits", 4)
    first, d = start(problem, 12, 0), problem.x.shape[1]
    scales = torch.tensor([0.5, 3.0], dtype=torch.float64)
    outputs, before = descend(problem, first, get(name), scales, 0.05, 30)
    for out, scale in zip(outputs, scales, strict=True):
        model = network(problem, first, name)
        torch.testing.assert_close(before.double(), model(problem.test)[:, 0].detach(), rtol=1e-4, atol=1e-5)
        true = trained(model, problem, scale * problem.y, 0.05 * d, 30)  # in units of weights over sqrt(d)
        torch.testing.assert_close(out.double(), true, rtol=1e-3, atol=1e-4)


def test_the_closed_form_is_descent_on_the_linearized_difference_network():
    problem = zeros_and_ones("digits", 4)
    first, d = start(problem, 12, 0), problem.x.shape[1]
    net = linearize(network(problem, first, "relu"), difference=True)
    true = trained(net, problem, problem.y, 0.05 * d, 30)
    torch.testing.assert_close(linearized_prediction(problem, first, get("relu"), 0.05, 30), true)


def test_wide_networks_approach_the_limit():
    problem, phi = zeros_and_ones("digits", 5), affine(get("erf"), inner=2.0)
    limit = limit_prediction(problem, phi)
    errors = [
        float(
            (linearized_prediction(problem, start(problem, m, 0), phi, 0.02, 10**7) - limit).norm() / problem.y.norm()
        )
        for m in (100, 20_000)
    ]
    assert errors[1] < 0.03 < errors[0]


def test_scaled_targets_are_difference_networks_in_weights():
    problem = zeros_and_ones("digits", 4)
    part = _Part("fig3", "digits", 4, "relu", 12, 20, 0, (1.0, 1e-3))
    found = start_less(problem, part, get("relu"))
    first = start(problem, 12, 0)
    z = first.weights.clone()
    for _ in range(20):  # eps = 1 by hand
        pre = z @ problem.x.T
        u = first.signs @ pre.relu() - first.signs @ (first.weights @ problem.x.T).relu()
        z = z + 0.01 * ((pre > 0) * first.signs[:, None] * (problem.y - u)) @ problem.x
    true = first.signs @ ((z @ problem.test.T).relu() - (first.weights @ problem.test.T).relu())
    torch.testing.assert_close(found[0], true, rtol=1e-3, atol=1e-5)
    near = linearized_prediction(problem, first, get("relu"), 0.01, 20)
    assert float((found[1] - near).norm()) < 0.05 * float((found[0] - near).norm()) + 1e-3 * float(near.norm())


def test_problem_keeps_the_products_of_inputs():
    problem = zeros_and_ones("digits", 6)
    rows = torch.cat([problem.x, problem.test])
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(24, dtype=torch.float64))
    assert problem.x.shape == (12, 24)
    assert sorted(problem.y.tolist()) == [0.0] * 6 + [1.0] * 6
    with pytest.raises(InputError, match="examples of a class"):
        zeros_and_ones("digits", 100)


def test_figure_2_and_3_at_smoke_scale():
    rows = fig2().rows
    linear = {row["width"]: row["linearized"] for row in rows}
    assert all(row["linearized"] == linear[row["width"]] for row in rows)  # flat in the scale
    assert {row["scale"] for row in rows} == {0.01, 0.1, 1.0, 10.0, 100.0}
    by_eps = {row["eps"]: row["error"] for row in fig3().rows if row["activation"] == "relu"}
    assert by_eps[1e-4] < by_eps[1.0] < by_eps[1e-8]


def test_the_table_at_smoke_scale():
    rows = table1().rows
    assert [row["preparation"] for row in rows] == ["normalized", "zero-mean", "whitened", "whitened-centred"]
    assert all(row["largest_of_all"] > row["largest"] > 1 > row["smallest"] > row["smallest_error"] for row in rows)


def test_duals_by_integration_are_the_closed_forms_of_the_paper():
    for figure, letter in ((fig4, "f"), (fig5, "g")):
        outcome = figure()
        rows = {(r["activation"], r["k"], r["c"]): r for r in outcome.rows}
        assert all(abs(r[letter] - r["closed_form"]) < 1e-6 for r in rows.values() if r["closed_form"] is not None)
        for k in (1, 3, 10):
            assert rows["relu", k, 1.0][letter] == pytest.approx(0.5)  # ReLU does not know its scaling
            inside = 1 + 1 / (2 * k * k)
            g = 2 / math.pi * math.asin(0.5 / inside) / k**2
            f = 2 / math.pi * 0.5 / math.sqrt(inside**2 - 0.25) / k**2
            assert rows["erf", k, 0.5][letter] == pytest.approx({"f": f, "g": g}[letter], abs=1e-9)
