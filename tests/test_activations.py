import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise.activations import Activation, Elementwise, affine, get, names, of_module, register
from widthwise.activations import registry as registry_module
from widthwise.activations.base import AutogradDerivative
from widthwise.activations.kinks import find_kinks
from widthwise.errors import InputError, InputTypeError

PARAMETERS = {"abrelu": "abrelu(-0.3,1.2)", "monomial": "monomial(5)"}
NAMES = [PARAMETERS.get(name, name) for name in names()]
WITH_PARAMETERS = ["leaky_relu(0.2)", "elu(0.5)", "celu(2)", "softplus(3)", "erf(2)", "sin(-0.5)", "hardtanh(-2,0.5)"]


@pytest.fixture
def forget(monkeypatch):
    monkeypatch.setattr(registry_module, "_REGISTERED", {})


@pytest.mark.parametrize("name", NAMES + WITH_PARAMETERS)
def test_a_name_leads_to_an_activation_whose_name_leads_back(name):
    activation = get(name)
    assert get(activation.name) == activation
    assert hash(get(activation.name)) == hash(activation)
    assert pickle.loads(pickle.dumps(activation)) == activation


@pytest.mark.parametrize("name", NAMES + WITH_PARAMETERS)
def test_the_derivative_is_that_of_autograd_in_both_precisions(name):
    activation = get(name)
    x = torch.linspace(-4.03, 4.01, 41, dtype=torch.float64)
    torch.testing.assert_close(activation.derivative(x), AutogradDerivative(activation.phi)(x), rtol=1e-12, atol=1e-12)
    single = activation.derivative(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), activation.derivative(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES + WITH_PARAMETERS)
def test_the_derivative_is_the_limit_of_differences(name):
    activation = get(name)
    x = torch.linspace(-3.7, 3.9, 37, dtype=torch.float64)
    step = 1e-6
    difference = (activation(x + step) - activation(x - step)) / (2 * step)
    torch.testing.assert_close(activation.derivative(x), difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [*(name for name in NAMES if get(name).kinks), "tanh", "hardtanh(-2,0.5)"])
def test_the_kinks_declared_are_those_found(name):
    activation = get(name)
    assert find_kinks(activation.phi) == (activation.kinks, activation.jumps)


@pytest.mark.parametrize("name", NAMES + WITH_PARAMETERS)
def test_the_module_computes_phi_and_is_read_back(name):
    activation = get(name)
    module = copy.deepcopy(pickle.loads(pickle.dumps(activation.module())))
    x = torch.linspace(-3, 3, 31, dtype=torch.float64)
    torch.testing.assert_close(module(x), activation(x), rtol=1e-9, atol=1e-9)
    assert of_module(module) == activation
    assert list(module.state_dict()) == []


def test_the_module_is_pytorchs_own_where_it_has_one():
    for name, kind in [("relu", nn.ReLU), ("gelu", nn.GELU), ("swish", nn.SiLU), ("identity", nn.Identity)]:
        assert type(get(name).module()) is kind
    assert isinstance(get("sincos").module(), Elementwise)
    assert repr(get("erf(2)").module()) == "Elementwise(erf(2))"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.LeakyReLU(0.2), "leaky_relu(0.2)"),
        (nn.ELU(0.5), "elu(0.5)"),
        (nn.GELU("tanh"), "gelu_tanh"),
        (nn.GELU(), "gelu"),
        (nn.Hardtanh(-2, 2), "hardtanh(-2,2)"),
        (nn.Softplus(2), "softplus(2)"),
        (nn.PReLU(), "leaky_relu(0.25)"),
        (nn.Softshrink(0.25), "softshrink(0.25)"),
        (nn.Identity(), "linear"),
    ],
)
def test_modules_are_read_with_their_parameters(module, name):
    assert get(module) == of_module(module) == get(name)
    x = torch.linspace(-3, 3, 31)
    torch.testing.assert_close(get(name)(x), module(x).detach())


def test_other_layers_have_no_activation():
    class Mine(nn.ReLU):
        def forward(self, x):
            return x.sin()

    for layer in (nn.Linear(2, 2), nn.BatchNorm1d(3), nn.Softmax(0), nn.PReLU(3), Mine()):
        assert of_module(layer) is None
    assert torch.equal(get(Mine())(torch.ones(2)), torch.ones(2).sin())


def test_pytorchs_functions_are_known():
    assert get(functional.relu) == get(torch.relu) == get("relu")
    assert get(functional.silu) == get("swish") == get("silu")


def test_any_elementwise_function_will_do():
    def bump(x):
        return torch.where(x > 1, 2 * x - 1, x) - (x < -2).to(x.dtype)

    activation = get(bump)
    assert activation.name == "bump"
    assert activation.kinks == (-2.0, 1.0)
    assert activation.jumps == (-2.0,)
    x = torch.tensor([0.0, 3.0])
    assert torch.equal(activation.derivative(x), torch.tensor([1.0, 2.0]))


def test_the_autograd_derivative_is_itself_differentiable():
    x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    slope = AutogradDerivative(lambda z: z**3)(x)
    (second,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(second, 6 * x.detach())
    with torch.no_grad():
        assert torch.equal(AutogradDerivative(torch.ones_like)(x), torch.zeros(2, dtype=torch.float64))


def test_affine_scales_shifts_and_moves_kinks():
    activation = affine(get("hardtanh(-1,3)"), outer=2.0, inner=-0.5, offset=1.0)
    x = torch.linspace(-9, 9, 19)
    torch.testing.assert_close(activation(x), 2 * (-0.5 * x).clamp(-1, 3) + 1)
    assert activation.kinks == (-6.0, 2.0)
    with pytest.raises(InputError, match="inner"):
        affine(get("relu"), inner=0.0)


@pytest.mark.usefixtures("forget")
def test_a_registered_activation_is_known_by_name():
    mine = register(Activation("mine", torch.sin))
    assert get("mine") is mine
    assert "mine" in names()
    assert register(Activation("mine", torch.sin)) == mine
    with pytest.raises(InputError, match="taken"):
        register(Activation("mine", torch.cos))
    with pytest.raises(InputError, match="taken"):
        register(Activation("relu", torch.cos))
    with pytest.raises(InputError, match="a word"):
        register(Activation("my own(2)", torch.sin))
    with pytest.raises(InputError, match="without parameters"):
        get("mine(2)")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("rleu", r"got 'rleu', allowed are .*relu.*did you mean 'relu'"),
        ("", "allowed are"),
        ("relu(", "allowed are"),
        ("relu(3)", "relu without parameters"),
        ("elu(a)", r"elu\(alpha\) with numbers"),
        ("monomial", r"monomial\(degree\)"),
        ("monomial(-1)", "degree"),
        ("softplus(0)", "beta"),
        ("erf(nan)", "inner"),
        ("hardtanh(1,1)", "above low"),
        (nn.Softmax(0), "is not elementwise"),
        (nn.Dropout(), "is not elementwise"),
        (nn.Linear(2, 2), "has parameters"),
        (torch.softmax, "fails on"),
        (lambda x: x.flip(0), "is not elementwise"),
        (lambda x: x.sum(), "fails on"),
        (lambda x: x.float(), "dtype"),
    ],
)
def test_what_is_no_activation_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        get(wrong)


@pytest.mark.parametrize("wrong", [3, None, ["relu"], torch.ones(2)])
def test_other_types_are_refused(wrong):
    with pytest.raises(InputTypeError, match="activation"):
        get(wrong)


def test_a_malformed_activation_is_refused():
    with pytest.raises(InputTypeError, match="name"):
        Activation(3, torch.sin)
    with pytest.raises(InputTypeError, match="phi"):
        Activation("three", 3)
    with pytest.raises(InputError, match="kinks"):
        Activation("odd", torch.sin, kinks=(float("nan"),))
    with pytest.raises(InputTypeError, match="module"):
        of_module("relu")
