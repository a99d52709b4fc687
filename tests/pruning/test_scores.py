"""Every score against an oracle that does not share its code, in float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from score_cases import MODELS, batch, flat, flat_loss, loss, make, slope
from torch import nn
from torch.func import hessian
from torch.nn import functional

from widthwise import models
from widthwise.errors import InputError, InputTypeError
from widthwise.pruning import prune, score_names, scores
from widthwise.pruning.gradients import generator_from_global
from widthwise.weights import prunable

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch.func.hessian
METHODS = ["grasp", "magnitude", "ntk_sap", "obd", "random", "snip", "synflow"]
GRADIENT_METHODS = ["grasp", "ntk_sap", "obd", "snip"]
LOSS_METHODS = ["grasp", "obd", "snip"]


@pytest.fixture(params=MODELS)
def model(request):
    return make(request.param)


def test_all_methods_are_known_by_the_name_of_their_function():
    assert set(METHODS) <= set(score_names())
    assert all(callable(getattr(scores, name)) for name in METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_scores_have_the_shapes_of_the_weights(model, method):
    found = getattr(scores, method)(model, batch(), loss)
    assert {n: s.shape for n, s in found.items()} == {n: p.shape for n, p in prunable(model).items()}
    assert list(found) == list(prunable(model))
    assert all(s.is_floating_point() and not s.requires_grad and s.isfinite().all() for s in found.values())


def test_magnitude(model):
    found = scores.magnitude(model)
    assert all(torch.equal(found[name], weight.abs()) for name, weight in prunable(model).items())


def test_random_scores_follow_the_generator(model):
    torch.manual_seed(4)
    first = scores.random(model)
    torch.manual_seed(4)
    second, third = scores.random(model), scores.random(model)
    assert torch.equal(flat(first), flat(second))
    assert not torch.equal(flat(first), flat(third))
    assert flat(first).min() >= 0
    assert flat(first).max() < 1


def test_snip_is_the_derivative_in_a_mask(model):
    """By central differences in a mask that multiplies the weights."""
    value, vector = flat_loss(model, *batch())
    expected = slope(lambda mask: value(mask * vector), torch.ones_like(vector)).abs()
    torch.testing.assert_close(flat(scores.snip(model, batch(), loss)), expected, rtol=1e-6, atol=1e-9)


def test_snip_by_hand():
    """Backpropagation on paper: one hidden layer of tanh, squared loss."""
    x, y = torch.randn(7, 4).double(), torch.randn(7, 2).double()
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    (w1, b1, w2, b2) = (p.detach().numpy() for p in model.parameters())
    inputs, targets = x.numpy(), y.numpy()
    hidden = np.tanh(inputs @ w1.T + b1)
    error = 2 * (hidden @ w2.T + b2 - targets) / targets.size
    back = (error @ w2) * (1 - hidden**2)
    found = scores.snip(model, (x, y), functional.mse_loss)
    torch.testing.assert_close(found["2.weight"], torch.from_numpy(abs(w2 * (error.T @ hidden))))
    torch.testing.assert_close(found["0.weight"], torch.from_numpy(abs(w1 * (back.T @ inputs))))


@pytest.mark.parametrize("route", ["double_backward", "forward_over_reverse"])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_grasp_is_weight_times_hessian_times_gradient(model, route, temperature):
    """By central differences of the gradient along itself."""
    weights = list(prunable(model).values())

    def gradient():
        x, y = batch()
        return torch.autograd.grad(functional.cross_entropy(model(x) / temperature, y), weights)

    direction, step, ends = gradient(), 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for w, d in zip(weights, direction, strict=True):
                w.add_(d, alpha=sign * step)
        ends.append(gradient())
        with torch.no_grad():
            for w, d in zip(weights, direction, strict=True):
                w.sub_(d, alpha=sign * step)
    expected = torch.cat([
        (w * (up - down) / (2 * step)).flatten() for w, up, down in zip(weights, *ends, strict=True)
    ]).detach()  # fmt: skip
    found = scores.grasp(model, batch(), loss, temperature=temperature, route=route)
    torch.testing.assert_close(flat(found), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["mlp", "conv", "tied"])
def test_grasp_with_the_whole_hessian(name):
    model = make(name)
    value, vector = flat_loss(model, *batch())
    matrix = hessian(value)(vector) if name != "conv" else torch.autograd.functional.hessian(value, vector)
    expected = vector * (matrix @ torch.autograd.functional.jacobian(value, vector))
    for route in ("double_backward", "forward_over_reverse"):
        torch.testing.assert_close(flat(scores.grasp(model, batch(), loss, route=route)), expected)


class Dotted(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(2, 12), nn.Linear(4, 3)

    def forward(self, x):
        mixed = functional.scaled_dot_product_attention(*self.enter(x.unflatten(1, (3, 2))).chunk(3, -1))
        return self.leave(mixed.mean(1))


def test_grasp_through_fused_attention():
    """Whose fused kernels have no second derivative; the routes share nothing but the gradient."""
    model = Dotted().double()
    first, second = (scores.grasp(model, batch(), loss, route=r) for r in ("double_backward", "forward_over_reverse"))
    torch.testing.assert_close(flat(first), flat(second))
    assert flat(first).abs().max() > 0


def test_grasp_says_when_there_is_no_forward_derivative():
    model = nn.Sequential(nn.Linear(6, 4), nn.SiLU(), nn.Linear(4, 3)).double()
    with pytest.raises(
        InputError, match="route: got 'forward_over_reverse', allowed is 'double_backward' here: .*silu"
    ):
        scores.grasp(model, batch(), loss, route="forward_over_reverse")


def test_grasp_of_linear_regression_in_closed_form():
    x, y = torch.randn(20, 5).double(), torch.randn(20, 1).double()
    model = nn.Linear(5, 1, bias=False).double()
    w, matrix = model.weight.detach().squeeze(), x.T @ x / 10
    expected = w * (matrix @ (matrix @ w - x.T @ y.squeeze() / 10))
    found = scores.grasp(model, (x, y), functional.mse_loss)["weight"].squeeze()
    torch.testing.assert_close(found, expected)


def test_a_loss_without_curvature_scores_zero():
    model = nn.Linear(3, 1)
    for route in ("double_backward", "forward_over_reverse"):
        found = scores.grasp(model, (torch.randn(4, 3), None), lambda output, y: output.sum(), route=route)
        assert not found["weight"].any()
    assert not scores.obd(model, (torch.randn(4, 3), None), lambda output, y: output.sum())["weight"].any()


@pytest.mark.parametrize("method", ["snip", "grasp"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "conv"])  # which normalises by the batch
def test_batches_add_up_to_the_whole(name, method):
    model = make(name)
    x, y = batch()
    parts = [(x[:3], y[:3]), (x[3:4], y[3:4]), (x[4:], y[4:])]
    score = getattr(scores, method)
    whole = flat(score(model, (x, y), loss))
    torch.testing.assert_close(flat(score(model, parts, loss)), whole)
    torch.testing.assert_close(flat(score(model, iter(parts), loss)), whole)


def test_half_precision_does_not_overflow_over_many_examples():
    model = nn.Linear(2, 1, bias=False).to(torch.float16)
    x = torch.full((3000, 2), 30.0, dtype=torch.float16)
    found = scores.snip(model, (x, None), lambda output, y: output.float().mean())["weight"]
    torch.testing.assert_close(found, 30 * model.weight.detach().abs(), rtol=1e-2, atol=0)


def test_obd_is_exact_for_a_diagonal_hessian():
    """Inputs along the axes make the Hessian of a linear model diagonal; then one sample is enough."""
    x, y = torch.diag(torch.tensor([1.0, 2.0, 3.0])).double(), torch.zeros(3, 1).double()
    model = nn.Linear(3, 1).double()
    expected = 0.5 * (2 / 3) * x.diagonal().square() * model.weight.detach().square()
    torch.testing.assert_close(scores.obd(model, (x, y), functional.mse_loss, samples=1)["weight"], expected)


@pytest.mark.parametrize("name", ["mlp", "tied"])
def test_obd_estimates_the_diagonal_with_the_spread_that_it_states(name):
    model, samples = make(name), 400
    value, vector = flat_loss(model, *batch())
    matrix = hessian(value)(vector)
    spread = ((matrix.square().sum(1) - matrix.diagonal().square()) / samples).sqrt()
    found = 2 * flat(scores.obd(model, batch(), loss, samples=samples)) / vector.square()
    errors = (found - matrix.diagonal()) / spread
    assert errors.abs().max() < 5
    assert 0.7 < errors.std() < 1.3


def test_synflow_counts_paths():
    """Every path of a network of three layers, one after the other."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 3)).double()
    a, b, c = (p.detach().abs().tolist() for p in prunable(model).values())
    expected = [torch.zeros_like(p, dtype=torch.float64) for p in prunable(model).values()]
    total = 0.0
    for i in range(3):
        for j in range(4):
            for k in range(2):
                for last in range(3):
                    path = a[j][i] * b[k][j] * c[last][k]
                    total += path
                    expected[0][j, i] += path
                    expected[1][k, j] += path
                    expected[2][last, k] += path
    for found, sums in zip(scores.synflow(model).values(), expected, strict=True):
        torch.testing.assert_close(found, sums / total)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.block, self.shortcut = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(3, 4, 1, stride=2)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = torch.relu_(self.block(x) + functional.dropout(self.shortcut(x)[..., 1:, 1:], 0.5))
        return functional.log_softmax(self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1)), -1)


def test_synflow_on_a_residual_network():
    """Against autograd on the network written out in absolute values, without what is transparent."""
    model = Residual().double()
    weights = {n: p.detach().abs().requires_grad_() for n, p in prunable(model).items()}
    x = functional.conv2d(torch.ones(1, 2, 7, 7).double(), weights["stem.weight"], padding=1)
    shortcut = functional.conv2d(x, weights["shortcut.weight"], stride=2)[..., 1:, 1:]
    x = functional.conv2d(x, weights["block.weight"], stride=2) + shortcut
    total = functional.linear(x.mean((2, 3)), weights["head.weight"]).sum()
    slopes = torch.autograd.grad(total, list(weights.values()))
    found = scores.synflow(model, (torch.randn(5, 2, 7, 7).double(), None))
    for (name, weight), part in zip(weights.items(), slopes, strict=True):
        torch.testing.assert_close(found[name], (weight * part / total).detach())


@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e4])
def test_synflow_on_a_hundred_layers_and_more(gain):
    model = nn.Sequential(*[layer for _ in range(120) for layer in (nn.Linear(32, 32), nn.Tanh())])
    reference = flat(scores.synflow(model))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(gain)
    found = scores.synflow(model)
    assert all(part.sum().item() == pytest.approx(1, abs=1e-9) for part in found.values())
    torch.testing.assert_close(flat(found), reference, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("value", "side"), [(1e6, "above"), (1e-6, "below")])
def test_synflow_beyond_all_bounds_is_refused(value, side):
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(200)]).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(value)
    with pytest.raises(InputError, match=f"sum over paths is {side} the range of float64"):
        scores.synflow(model)


def test_synflow_without_a_path_is_zero():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(model[2].weight)
    assert not any(score.any() for score in scores.synflow(model).values())


def test_synflow_in_rounds_keeps_every_layer_where_one_round_loses_some():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(50, 200), nn.ReLU(), nn.Linear(200, 10), nn.ReLU(), nn.Linear(10, 200), nn.ReLU(), nn.Linear(200, 5)
    )
    once = prune(copy.deepcopy(model), 0.995, "synflow", rounds=1, on_collapse="allow")
    many = prune(model, 0.995, "synflow")
    assert min(layer.kept for layer in once.layers()) == 0
    assert min(layer.kept for layer in many.layers()) > 0


def test_ntk_sap_of_one_layer_in_closed_form():
    model, x = nn.Linear(4, 3).double(), torch.randn(6, 4).double()
    torch.manual_seed(9)
    step = 0.01 * torch.randn(3, 4, generator=generator_from_global()).double()
    torch.manual_seed(9)
    found = scores.ntk_sap(model, (x, None))["weight"]
    expected = 2 * step * ((x @ step.T).T @ x) / len(x)
    torch.testing.assert_close(found, expected.abs())


def test_ntk_sap_is_the_derivative_in_a_mask(model):
    weights = {n: p.detach() for n, p in prunable(model).items()}
    x, _ = batch()
    torch.manual_seed(9)
    generator = generator_from_global()
    steps = {n: 0.1 * torch.randn(w.shape, generator=generator).double() for n, w in weights.items()}
    sizes = [w.numel() for w in weights.values()]

    def distance(mask):
        parts = {n: m.view(w.shape) for (n, w), m in zip(weights.items(), mask.split(sizes), strict=True)}
        here, there = copy.deepcopy(model), copy.deepcopy(model)
        with torch.no_grad():
            for name, weight in weights.items():
                prunable(here)[name].copy_(weight * parts[name])
                prunable(there)[name].copy_((weight + steps[name]) * parts[name])
            return (here(x) - there(x)).square().sum() / len(x)

    expected = slope(distance, torch.ones(sum(sizes), dtype=torch.float64)).abs()
    torch.manual_seed(9)
    found = flat(scores.ntk_sap(model, (x, None), epsilon=0.1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_ntk_sap_needs_nothing_for_a_linear_first_layer_and_spares_the_dead():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[0].weight[0] = 0
    assert not scores.ntk_sap(model)["0.weight"][0].any()
    with pytest.raises(InputError, match="data: got None, but method 'ntk_sap' needs inputs"):
        scores.ntk_sap(nn.Conv2d(1, 2, 3))


def lively(training=True):
    model = nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        nn.Dropout(0.5),
        nn.ReLU(),
        nn.Linear(8, 4),
        nn.Dropout(0.1),
        nn.Linear(4, 3),
    ).double()
    model[2].eval()
    model(batch()[0]).sum().backward()
    model[0].weight.grad = None
    return model.train(training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_exactly_as_it_was(method, training):
    model = lively(training)
    tensors = {n: (t, t.clone(), t._version) for n, t in [*model.named_parameters(), *model.named_buffers()]}
    grads = {n: (p.grad, None if p.grad is None else p.grad.clone()) for n, p in model.named_parameters()}
    modes = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    with torch.no_grad():
        getattr(scores, method)(model, batch(), loss)
    now = dict([*model.named_parameters(), *model.named_buffers()])
    assert all(now[n] is t and torch.equal(t, value) for n, (t, value, _) in tensors.items())
    assert all(p._version == tensors[n][2] for n, p in model.named_parameters())
    assert all(p.grad is grads[n][0] for n, p in model.named_parameters())
    assert all(value is None or torch.equal(grad, value) for grad, value in grads.values())
    assert [m.training for m in model.modules()] == modes
    if method not in ("random", "obd", "ntk_sap"):
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_the_model_is_left_as_it_was_when_the_loss_fails(method):
    model = lively()
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]

    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    broken = nn.Sequential(model, Failing())
    with pytest.raises(InputError, match="model: fails on an x .*: no"):
        getattr(scores, method)(broken, batch(), loss)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes


def test_dropout_is_off_and_batch_statistics_are_on():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 3)).double()
    plain = nn.Sequential(*[layer for layer in copy.deepcopy(model) if not isinstance(layer, nn.Dropout)])
    assert torch.equal(flat(scores.snip(model, batch(), loss)), flat(scores.snip(plain, batch(), loss)))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return functional.dropout(self.layer(x.float()), 0.5, self.training)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_a_forward_pass_that_is_random_is_named(method):
    model = Noisy()
    with pytest.warns(UserWarning, match="its forward pass draws random numbers"):
        getattr(scores, method)(model, batch(), loss)
    getattr(scores, method)(model.eval(), batch(), loss)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_eval_mode_before_the_first_batch_is_refused(method):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double().eval()
    with pytest.raises(InputError, match=r"in eval mode, but BatchNorm '1' has never seen a batch.*call model.train"):
        getattr(scores, method)(model, batch(), loss)


BAD_LOSSES = [
    (lambda o, y: (o - 1).square(), r"loss: got a tensor of shape \(8, 3\), allowed is a scalar"),
    (lambda o, y: 1.0, "loss: got float, allowed is a scalar tensor"),
    (lambda o, y: o.mean() * float("nan"), "loss: got nan, allowed is a finite number"),
    (lambda o, y: o.mean() / 0, "loss: got -?inf"),
    (lambda o, y: o.detach().mean(), "loss: does not depend on the model's parameters"),
]


@pytest.mark.parametrize("method", LOSS_METHODS)
@pytest.mark.parametrize(("bad", "message"), BAD_LOSSES)
def test_bad_losses_are_refused(method, bad, message):
    with pytest.raises(InputError, match=message):
        getattr(scores, method)(make("mlp"), batch(), bad)


@pytest.mark.parametrize("method", LOSS_METHODS)
def test_missing_data_or_loss_is_refused(method):
    with pytest.raises(InputError, match=f"data: got None, but method '{method}' needs data and a loss"):
        getattr(scores, method)(make("mlp"))
    with pytest.raises(InputError, match=f"loss: got None, but method '{method}' needs data and a loss"):
        getattr(scores, method)(make("mlp"), batch())
    with pytest.raises(InputTypeError, match="loss: got 'mse' of type str, allowed is a function"):
        getattr(scores, method)(make("mlp"), batch(), "mse")
    with pytest.raises(InputTypeError, match=r"the class MSELoss, allowed is an instance of it, MSELoss\(\)"):
        getattr(scores, method)(make("mlp"), batch(), nn.MSELoss)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_parameters_without_gradient_are_refused(method):
    model = make("mlp")
    model[2].weight.requires_grad_(False)
    with pytest.raises(InputError, match=r"'2.weight' does not require gradients"):
        getattr(scores, method)(model, batch(), loss)
    unused = make("mlp")
    unused.register_parameter("extra", nn.Parameter(torch.ones(2, 2)))
    with pytest.raises(InputError, match="'extra' gets no gradient"):
        getattr(scores, method)(unused, batch(), loss)


def test_bad_settings_are_refused():
    model = make("mlp")
    with pytest.raises(InputError, match="temperature"):
        scores.grasp(model, batch(), loss, temperature=0)
    with pytest.raises(InputError, match="route: got 'back', allowed are double_backward, forward_over_reverse"):
        scores.grasp(model, batch(), loss, route="back")
    with pytest.raises(InputError, match="samples"):
        scores.obd(model, batch(), loss, samples=0)
    with pytest.raises(InputError, match="epsilon"):
        scores.ntk_sap(model, batch(), epsilon=0)
    with pytest.raises(InputError, match="data: got None, but method 'synflow' needs the shape"):
        scores.synflow(nn.Conv2d(1, 2, 3))


def test_single_precision_agrees_with_double():
    double, single = make("mlp"), make("mlp").float()
    x, y = batch()
    for method in ("snip", "grasp", "synflow"):
        exact = flat(getattr(scores, method)(double, (x, y), loss))
        close = flat(getattr(scores, method)(single, (x.float(), y), loss)).double()
        torch.testing.assert_close(close, exact, rtol=1e-3, atol=1e-6 * exact.abs().max().item())


class Attending(nn.Module):
    """Attention whose keys and values have a learned one more, two biases of three dimensions."""

    def __init__(self, more: bool):
        super().__init__()
        self.enter, self.leave = nn.Linear(6, 8), nn.Linear(8, 3)
        self.attend = nn.MultiheadAttention(8, 2, add_bias_kv=more, batch_first=True)

    def forward(self, x):
        y = self.enter(x)
        return self.leave((y + self.attend(y, y, y, need_weights=False)[0]).mean(1))


@pytest.mark.parametrize("method", ["grasp", "magnitude", "ntk_sap", "obd", "snip", "synflow"])
def test_biases_of_keys_and_values_are_no_weights(method):
    """Were they counted, SynFlow would find no path through them and SNIP next to no gradient."""
    plain, biased = Attending(more=False).double(), Attending(more=True).double()
    biased.load_state_dict(plain.state_dict(), strict=False)
    assert list(prunable(biased)) == list(prunable(plain))
    data = torch.randn(12, 5, 6, dtype=torch.float64), torch.arange(12) % 3
    assert prune(copy.deepcopy(biased), 0.8, method, data, functional.cross_entropy).kept == 66
    if method in ("magnitude", "synflow"):
        for name, found in getattr(scores, method)(biased, data).items():
            torch.testing.assert_close(found, getattr(scores, method)(plain, data)[name])


def test_only_what_is_named_a_bias_or_is_a_vector_about_one_is_a_bias():
    model = nn.Module()
    for name, shape in {
        "bias": (3, 4), "expert_biases": (3, 4), "bias_k": (1, 1, 4), "bias_matrix": (3, 4), "unbiased": (3, 4),
        "relative_bias_table": (5, 2), "weight": (3, 4),
    }.items():  # fmt: skip
        model.register_parameter(name, nn.Parameter(torch.ones(shape)))
    assert list(prunable(model)) == ["bias_matrix", "unbiased", "relative_bias_table", "weight"]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("normed", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
def test_gains_of_normed_weights_are_no_weights(normed):
    """Half of a layer's gains removed would be half of its units dead."""
    model = nn.Sequential(normed(nn.Conv2d(1, 16, 3)), nn.Flatten(), normed(nn.Linear(16, 1)))
    assert [tuple(p.shape) for p in prunable(model).values()] == [(16, 1, 3, 3), (1, 16)]
    prune(model, 0.5, "random", scope="uniform")
    assert model[0].weight.flatten(1).any(1).sum() >= 15


def test_a_weight_called_after_a_bias_is_no_bias_to_synflow():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias_matrix = nn.Parameter(torch.randn(3, 6))

        def forward(self, x):
            return x @ self.bias_matrix.T

    mine, known = Mine(), nn.Linear(6, 3, bias=False)
    known.weight = mine.bias_matrix
    data = torch.randn(4, 6), torch.zeros(4, dtype=torch.long)
    found = scores.synflow(mine, data), scores.synflow(known, data)
    torch.testing.assert_close(found[0]["bias_matrix"], found[1]["weight"])
    assert found[0]["bias_matrix"].all()


class Complex(nn.Module):
    """Moduli of complex sums."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6, dtype=torch.complex64))

    def forward(self, x):
        return (x.to(torch.complex64) @ self.weight.T).abs()


@pytest.mark.parametrize("method", ["grasp", "ntk_sap", "obd", "snip", "synflow"])
def test_complex_weights_are_refused_by_what_differentiates(method):
    with pytest.raises(InputError, match="model: 'weight' is of torch.complex64, allowed are real weights"):
        prune(Complex(), 0.5, method, (torch.randn(4, 6), torch.arange(4) % 3), loss)
    assert prune(Complex(), 0.5, "magnitude").kept == 9


def test_embeddings_with_sparse_gradients():
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(8, 3))
    tokens = torch.tensor([[0, 1], [2, 3], [0, 4]]), torch.tensor([0, 1, 2])
    found = scores.snip(model, tokens, loss)["0.weight"]
    assert (found.sum(1) > 0).tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize("name", ["vit", "gpt"])
def test_synflow_shares_out_the_paths_of_a_deep_transformer(name):
    torch.manual_seed(0)
    if name == "vit":
        model, x = models.vit(width=24, heads=2), torch.randn(1, 3, 32, 32)
    else:
        model, x = models.gpt(width=24, heads=2, depth=6), torch.randint(0, 9, (1, 7))
    found = {name: float(score.sum()) for name, score in scores.synflow(model, (x, None)).items()}
    entering = [share for name, share in found.items() if name.startswith(("patches", "tokens"))]
    assert sum(entering) == pytest.approx(1)
    assert all(0 < share < 1 for name, share in found.items() if "branch" in name)
    paired = [share for name, share in found.items() if "mix" in name]
    assert paired[::2] == pytest.approx(paired[1::2])  # what enters an attention leaves it
