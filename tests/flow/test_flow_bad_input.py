"""What ``flow`` refuses and what it warns of: each message names the argument, what it got, what is allowed."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from widthwise import flow
from widthwise.errors import InputError, InputTypeError
from widthwise.models import Shallow, mlp, node_scaled
from widthwise.scaling import uniform, zipf


def data(n: int = 8, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, d), torch.randn(n)


def model(d: int = 3, m: int = 20) -> Shallow:
    return node_scaled(d, width=m)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 1.2}, "gamma: got 1.2"),
        ({"gamma": -0.1}, "gamma: got -0.1"),
        ({"alpha": 0.0}, "alpha: got 0"),
        ({"alpha": 1.0}, "alpha: got 1"),
        ({"alpha": float("nan")}, "alpha: got nan"),
        ({"width": 0}, "width: got 0"),
        ({"init_variance": 0.0}, "init_variance: got 0"),
        ({"in_features": 0}, "in_features: got 0"),
        ({"activation": "relux"}, "activation: got 'relux'"),
    ],
)
def test_networks_out_of_range(arguments, message):
    with pytest.raises(InputError, match=f"^{message}.*allowed"):
        node_scaled(**{"in_features": 3, **arguments})


@pytest.mark.parametrize("call", [lambda: zipf(0, 0.5), lambda: zipf(3, None, 0.5), lambda: uniform(-1)])
def test_scalings_of_nothing(call):
    with pytest.raises((InputError, InputTypeError), match=r"^(m|alpha): got"):
        call()


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (torch.zeros(0, 3), torch.zeros(0), "X: got shape .0, 3."),
        (torch.randn(8), torch.randn(8), "X: got shape .8,."),
        (torch.randn(8, 4), torch.randn(8), "X: the network fails on an example of shape .4,."),
        (torch.randn(8, 3), torch.randn(7), "y: got shape"),
        (torch.randn(8, 3), torch.randn(8, 2), "y: got 2 targets an example"),
        (torch.tensor([[1.0, 2.0, float("nan")]]), torch.ones(1), "X: 1 of 3 values are NaN or infinite"),
        (torch.randn(2, 3), torch.tensor([1.0, float("inf")]), "y: 1 of 2 values are NaN or infinite"),
        (torch.cat([torch.randn(3, 3), torch.zeros(2, 3)]), torch.ones(5), r"X: row 3 has norm zero \(2 such\)"),
    ],
)
def test_data_that_do_not_fit(x, y, said):
    with pytest.raises(InputError, match=f"^{said}"):
        flow.train(model(), x, y, 1.0)


def test_data_of_other_types():
    x, y = data()
    for a, b in ((x.double(), y), (x, y.long()), (x.numpy(), y), ("x", y)):
        with pytest.raises(InputTypeError, match=r"^[Xy]: got"):
            flow.train(model(), a, b, 1.0)


def test_norm_zero_is_allowed_where_the_network_has_biases():
    x = torch.cat([torch.randn(3, 3), torch.zeros(1, 3)])
    run = flow.train(mlp(3, 1, width=5), x, torch.ones(4), 0.1)
    assert run["loss"][-1] < run["loss"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "t_end, steps: got None and None"),
        ({"t_end": 1.0, "steps": 3}, "t_end, steps: got 1.0 and 3"),
        ({"t_end": 0.0}, "t_end: got 0"),
        ({"t_end": float("inf")}, "t_end: got inf"),
        ({"steps": 0}, "steps: got 0"),
        ({"t_end": 1.0, "lr": -1.0}, "lr: got -1"),
        ({"t_end": 1.0, "method": "rk4"}, "method: got 'rk4', allowed are gd, ode"),
        ({"t_end": 1.0, "record": ("los",)}, r"record: got 'los', .*did you mean 'loss'"),
        ({"t_end": 1.0, "at": [2.0]}, "at: got 2"),
        ({"t_end": 1.0, "at": []}, "at: got no times"),
        ({"t_end": 1.0, "points": 9}, "points: got 9"),
        ({"t_end": 1.0, "rtol": 0.0}, "rtol: got 0"),
    ],
)
def test_arguments_out_of_range(arguments, said):
    with pytest.raises(InputError, match=f"^{said}"):
        flow.train(model(), *data(), **arguments)


def test_networks_that_cannot_be_trained_together():
    x, y = data()
    one = model()
    dropping = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    for networks, said in (
        ([], "empty"),
        ([one, one], "the same network twice"),
        ([one, model(m=21)], "of one kind"),
        (nn.Identity(), "no parameters"),
        (dropping, "call model.eval"),
    ):
        with pytest.raises(InputError, match=f"^model: .*{said}"):
            flow.train(networks, x, y, 1.0)
    with pytest.raises(InputTypeError, match="^model: got 3"):
        flow.train([one, 3], x, y, 1.0)


@pytest.mark.parametrize("factor", [1.001, 1e6])
def test_a_step_too_large_is_refused_before_anything_moves(factor):
    x, y = data(30)
    net = model(m=200)
    before = net.weight.detach().clone()
    jacobian = torch.autograd.functional.jacobian(
        lambda w: torch.func.functional_call(net, {"weight": w}, (x,))[:, 0], net.weight
    ).flatten(1)
    limit = 2 / float(torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1])
    with pytest.raises(InputError, match=r"^lr: got .*2/lambda_max = ") as refused:
        flow.train(net, x, y, steps=5, lr=limit * factor, method="gd")
    named = float(str(refused.value).split("2/lambda_max = ")[1].split()[0])
    assert named == pytest.approx(limit, rel=2e-3)
    torch.testing.assert_close(net.weight.detach(), before)
    flow.train(net, x, y, steps=5, lr=0.9 * named, method="gd")


def test_a_step_that_becomes_too_large_is_found_on_the_way():
    """The NTG of a deep linear network grows as it learns large targets."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for layer in net:
        nn.init.constant_(layer.weight, 0.1)
    with pytest.raises(InputError, match=r"at step \d\d+ the largest eigenvalue"):
        flow.train(net, torch.ones(1, 1), torch.full((1, 1), 9.0), steps=4000, lr=0.115, method="gd")
    assert all(bool(p.isfinite().all()) for p in net.parameters())


def test_numbers_that_leave_the_range_are_refused():
    x, y = data()
    for a, b in ((x * 1e18, y), (x, y * 1e20)):
        with pytest.raises(InputError, match=r"^X, y: the flow leaves the range of torch.float32 at time 0"):
            flow.train(model(), a, b, 1.0)
    net = model()
    net.weight.data[3, 1] = float("nan")
    with pytest.raises(InputError, match="^model: weight: 1 of 60 values are NaN"):
        flow.train(net, x, y, 1.0)


def test_an_observer_must_give_a_tensor():
    with pytest.raises(InputTypeError, match=r"^record\['mine'\]: got 3"):
        flow.train(model(), *data(), 1.0, record={"mine": lambda snapshot: 3})


def test_a_repeated_input_warns_and_names_the_rows():
    x, y = data()
    x[5] = x[2]
    with pytest.warns(
        flow.DegenerateWarning, match=r"X: 1 rows repeat others \(rows 2 and 5 are equal\), so kappa_n = 0"
    ):
        flow.train(model(), x, y, 0.1)
    with pytest.warns(flow.DegenerateWarning, match="kappa_n = 0"):
        assert flow.kappa("relu", x) == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.train(model(), *data(), 0.1)


def test_theory_of_bad_data():
    for call in (flow.mean_ntg, flow.kappa, flow.variance_constant):
        with pytest.raises(InputError, match="^X: row 1 has norm zero"):
            call("relu", torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        with pytest.raises(InputError, match="^X: got shape"):
            call("relu", torch.zeros(0, 2))
        with pytest.raises(InputTypeError, match="^X: got torch.int64"):
            call("relu", torch.ones(2, 2).long())
    with pytest.raises(InputError, match="^shares: got a sum of 2"):
        flow.limiting_ntg("relu", torch.eye(2), torch.ones(2), 0.5)
    with pytest.raises(InputError, match="^activation: got relu, which has kinks"):
        flow.first_step_ntk_change("relu", torch.eye(2), uniform(3))
    with pytest.raises(InputError, match="^gamma: got 2"):
        flow.guaranteed_rate(2.0, 0.1)
    with pytest.raises(InputError, match="^kappa_n: got -1"):
        flow.eigenvalue_floor(0.5, -1.0)
    with pytest.raises(InputError, match="^variance: got 0"):
        flow.mean_ntg("relu", torch.eye(2), variance=0.0)
    with pytest.raises(InputError, match="^times: got -1"):
        flow.loss_bound(torch.tensor([-1.0]), 1.0, 0.5, 0.1)
    with pytest.raises(InputError, match="^y: got 3 targets for 2 inputs"):
        flow.first_step_rms("relu", torch.eye(2), torch.ones(3), uniform(3))
