"""The empirical kernels against a loop of autograd in double precision, finite differences and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import widthwise as ww
from widthwise.errors import InputError, InputTypeError
from widthwise.kernels import empirical_nngp, empirical_ntk
from widthwise.kernels.empirical import blocks, choose
from widthwise.kernels.empirical.jacobian import JacobianContraction
from widthwise.kernels.empirical.layers import LayerForm
from widthwise.kernels.empirical.subject import subject_of
from widthwise.models.node_scaled import Shallow

METHODS = ("auto", "jacobian", "products", "layers")


class Tied(nn.Module):
    """One layer used twice, another's weight used outside it, and a bare parameter."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)
        self.outside = nn.Linear(5, 5)
        self.head = nn.Linear(5, 2)
        self.gain = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        x = self.inner(torch.tanh(self.inner(x)))
        x = self.outside(torch.sin(x)) + functional.linear(x, self.outside.weight)
        return self.head(self.gain * x)


class TokensFlattened(nn.Module):
    """Dense layers over tokens: one sees (n, t, p), the other (n * t, p), a third (t, n, p)."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        h = torch.tanh(self.a(input=x))
        h = torch.tanh(self.b(h.reshape(-1, 6))).view(*x.shape[:2], 6)
        return self.c(self.norm(h).transpose(0, 1)).transpose(0, 1).sum(1)


class Branching(nn.Module):
    """Its steps depend on values, which vmap cannot follow."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x):
        out = self.net(x)
        return out.square() if float(out.detach().square().sum()) > -1 else out


class ByHand(nn.Module):
    """It computes with its layers' weights, some of them or all, and does not call the layers."""

    def __init__(self, call=False):
        super().__init__()
        self.inner, self.outer, self.call = nn.Linear(5, 4), nn.Linear(4, 2), call

    def forward(self, x):
        hidden = torch.tanh(functional.linear(x, self.inner.weight, self.inner.bias))
        return self.outer(hidden) if self.call else functional.linear(hidden, self.outer.weight / 2, self.outer.bias)


class Recurrent(nn.Module):
    """PyTorch has no rule for its forward mode."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


MODELS = {
    "dense": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Linear(7, 3)), (5,)),
    "no bias, one output": (lambda: nn.Sequential(nn.Linear(5, 7, bias=False), nn.Tanh(), nn.Linear(7, 1)), (5,)),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1, stride=2), nn.GELU(), nn.Conv2d(3, 4, (2, 1)), nn.Flatten(), nn.Linear(24, 3)
        ),
        (2, 6, 5),
    ),
    "grouped, circular": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), nn.Flatten()
        ),
        (2, 5, 5),
    ),
    "normalised": (lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).eval(), (5,)),
    "tied": (Tied, (5,)),
    "tokens": (TokensFlattened, (3, 4)),
    "bare": (lambda: Shallow(5, [0.5, 0.3, 0.2], 2, "tanh"), (5,)),
    "branching": (Branching, (3,)),
    "by hand": (ByHand, (5,)),
    "half by hand": (lambda: ByHand(call=True), (5,)),
    "recurrent": (Recurrent, (4, 3)),
}


def oracle(model, x1, x2=None, full=False, keep=None):
    """Gradients one output at a time."""

    def rows(x):
        params = {n: p for n, p in model.named_parameters() if p.requires_grad}
        out = []
        for one in x:
            for value in model(one[None]).flatten():
                grads = torch.autograd.grad(value, list(params.values()), retain_graph=True, allow_unused=True)
                pairs = zip(params.items(), grads, strict=True)
                flat = [(torch.zeros_like(p) if g is None else g) * (keep or {}).get(n, 1) for (n, p), g in pairs]
                out.append(torch.cat([g.flatten() for g in flat]))
        return torch.stack(out).view(len(x), -1, out[0].numel())

    a = rows(x1)
    b = a if x2 is None else rows(x2)
    kernel = torch.einsum("iop,jqp->ijoq", a, b)
    return kernel if full else kernel.diagonal(dim1=2, dim2=3).mean(-1)


def close(found, true, slack=1e-12):
    assert found.shape == true.shape
    assert float((found - true).abs().max()) <= slack * float(true.abs().max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_every_method_equals_a_loop_of_autograd(name, method):
    build, shape = MODELS[name]
    model = build().double()
    x, y = torch.randn(5, *shape, dtype=torch.float64), torch.randn(3, *shape, dtype=torch.float64)
    if name in ("bare", "by hand", "grouped, circular") and method == "layers":
        with pytest.raises(InputError, match="method: got 'layers'"):
            empirical_ntk(model, x, method=method)
        return
    if name in ("branching", "recurrent") and method == "products":
        with pytest.raises(RuntimeError, match="vmap|shape"):
            empirical_ntk(model, x, method=method)
        return
    for other in (None, y):
        for memory in (2**30, 1500):
            close(empirical_ntk(model, x, other, method=method, memory=memory), oracle(model, x, other))
            full = empirical_ntk(model, x, other, method=method, memory=memory, outputs="full")
            close(full, oracle(model, x, other, full=True))


def test_the_structured_form_leaves_out_layers_it_would_get_wrong():
    def names(model, *shape):
        subject = subject_of(model, torch.randn(4, *shape), "all", None)
        rest = LayerForm(subject, torch.randn(4, *shape)).rest
        return set() if rest is None else set(rest.subject.params)

    assert names(Tied(), 5) == {"gain", "outside.weight", "outside.bias"}
    assert {"c.weight", "c.bias", "norm.weight", "norm.bias"} >= names(TokensFlattened(), 3, 4) >= {"norm.weight"}
    assert names(nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 1)), 3) == set()


def test_against_finite_differences():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, h = torch.randn(3, 3, dtype=torch.float64), 1e-6
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()
    rows = []
    for i in range(len(flat)):
        values = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[i] += sign * h
            nn.utils.vector_to_parameters(moved, model.parameters())
            values.append(model(x).detach())
        rows.append((values[0] - values[1]) / (2 * h))
    nn.utils.vector_to_parameters(flat, model.parameters())
    close(
        empirical_ntk(model, x, outputs="full"),
        torch.einsum("pio,pjq->ijoq", torch.stack(rows), torch.stack(rows)),
        1e-8,
    )


@pytest.mark.parametrize("train", ["first", "last"])
def test_first_and_last_layer(train):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2)).double()
    x = torch.randn(4, 4, dtype=torch.float64)
    other = {"first": (2, 3, 4), "last": (0, 2, 3)}[train]
    found = empirical_ntk(model, x, train=train)
    for i in other:
        model[i].requires_grad_(False)
    close(found, oracle(model, x))


def test_order_is_that_of_execution():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = nn.Linear(4, 1), nn.Linear(3, 4)

        def forward(self, x):
            return self.late(self.early(x))

    model, x = Reversed().double(), torch.randn(3, 3, dtype=torch.float64)
    hidden = model.early(x)
    close(empirical_ntk(model, x, train="last"), (hidden @ hidden.T + 1).detach())


class BareReadout(nn.Module):
    """A readout that the model itself owns, though its layer runs before; the layer is reused if asked for."""

    def __init__(self, again=False):
        super().__init__()
        self.again = again
        self.readout = nn.Parameter(torch.randn(2, 4))
        self.layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

    def forward(self, x):
        out = torch.tanh(self.layer(x)) @ self.readout.T
        return out + self.layer(x)[:, :2] if self.again else out


@pytest.mark.parametrize(
    ("again", "train", "last"), [(False, "first", False), (False, "last", True), (True, "last", False)]
)
def test_order_is_that_of_the_weights_use_not_of_the_modules_calls(again, train, last):
    model, x = BareReadout(again).double(), torch.randn(3, 4, dtype=torch.float64)
    found = empirical_ntk(model, x, train=train)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_((name == "readout") == last)
    close(found, oracle(model, x))


def test_a_layer_alone_may_be_parametrised():
    model = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    close(empirical_ntk(model, x, train="first"), oracle(model, x))


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.v = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(2, 4))

    def forward(self, x):
        return torch.tanh(x @ self.w.T) @ self.v.T


class Around(Bare):
    """Its own two weights with a layer between them."""

    def __init__(self):
        super().__init__()
        self.between = nn.Linear(4, 4)

    def forward(self, x):
        return torch.tanh(self.between(x @ self.w.T)) @ self.v.T


@pytest.mark.parametrize("train", ["first", "last"])
@pytest.mark.parametrize("build", [Bare, Around])
def test_weights_of_several_layers_in_one_module_are_no_layer(build, train):
    with pytest.raises(InputError, match=f"train: got '{train}', but the model itself owns .* several layers, v, w"):
        empirical_ntk(build(), torch.randn(3, 3), train=train)


def test_converges_to_the_infinite_width_kernel():
    """First layer of a ReLU network u = phi(x W') a: the limit is (8) of the paper on difference networks."""
    m, n = 50_000, 6
    x = functional.normalize(torch.randn(n, 10, dtype=torch.float64))
    model = nn.Sequential(nn.Linear(10, m, bias=False), nn.ReLU(), nn.Linear(m, 1, bias=False)).double()
    nn.init.normal_(model[0].weight)
    model[2].weight.data = torch.randn(1, m, dtype=torch.float64).sign() / math.sqrt(m)
    limit = ww.duals.f("relu", x @ x.T)
    assert float((empirical_ntk(model, x, train="first") - limit).abs().max()) < 5 / math.sqrt(m)
    last = empirical_ntk(model, x, train="last") / m
    assert float((last - ww.duals.g("relu", x @ x.T)).abs().max()) < 5 / math.sqrt(m)


@pytest.mark.parametrize("method", METHODS)
def test_a_sparse_network_counts_live_weights_only(method):
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    mask = ww.prune(model, 0.6, "magnitude")
    keep = {name: mask[name].double() for name in mask}
    x = torch.randn(4, 6, dtype=torch.float64)
    true = oracle(model, x, full=True, keep=keep)
    close(empirical_ntk(model, x, method=method, outputs="full"), true)
    close(empirical_ntk(model, x, method=method, outputs="full", mask=mask), true)
    dense = empirical_ntk(model, x, method=method, mask=ww.Mask.dense(model))
    close(dense, oracle(model, x))
    assert not torch.allclose(dense, empirical_ntk(model, x, method=method))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**20))
def test_symmetric_positive_and_consistent(n, width, outputs, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, outputs)).double()
    x = torch.randn(n, 3, dtype=torch.float64)
    kernel = empirical_ntk(model, x, memory=4000)
    assert torch.equal(kernel, kernel.T)
    assert float(torch.linalg.eigvalsh(kernel)[0]) >= -1e-12 * float(kernel.trace())
    full = empirical_ntk(model, x, outputs="full")
    assert torch.equal(full, full.permute(1, 0, 3, 2))
    close(full.diagonal(dim1=2, dim2=3).mean(-1), kernel)
    close(empirical_ntk(model, x, x[:2]), kernel[:, :2])


def test_large_blocks_are_exactly_symmetric_in_single_precision():
    model, x = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 2)), torch.randn(300, 20)
    kernel = empirical_ntk(model, x)
    assert torch.equal(kernel, kernel.T)
    assert kernel.dtype == torch.float32
    true = empirical_ntk(model.double(), x.double())
    scale = true.diagonal().sqrt()
    assert float(((kernel - true).abs() / (scale[:, None] * scale)).max()) < 1e-6


def test_memory_bounds_the_rows_of_a_block():
    seen = []
    model = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Linear(30, 2))
    x = torch.randn(40, 10)
    whole = empirical_ntk(model, x)
    model.register_forward_hook(lambda m, a, out: seen.append(len(a[0])))
    close(empirical_ntk(model, x, memory=8000), whole, 1e-5)
    assert max(seen) < 10
    subject = subject_of(model, x, "all", None)
    method = JacobianContraction(subject)
    for memory in (1, 10**5, 10**7):
        b = blocks.rows_within(method, memory, full=True, itemsize=4)
        assert b == 1 or 4 * (2 * b * method.row_size + 2 * b * b * 4) <= memory


def test_auto_takes_the_structured_form_where_it_is_clearly_cheapest():
    model, x = nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 1)), torch.randn(50, 20)
    assert choose.choose(subject_of(model, x, "all", None), "auto", x, None, False).name == "layers"


def test_auto_times_what_counting_leaves_open(monkeypatch):
    model, x = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 2)), torch.randn(20, 20)
    subject = subject_of(model, x, "all", None)
    monkeypatch.setattr(choose, "_SMALL", 0.0)
    monkeypatch.setattr(choose, "_CLEAR", float("inf"))
    monkeypatch.setattr(choose, "_seconds", lambda method, x, full: float(method.name != "products") * 1e6)
    assert choose.choose(subject, "auto", x, None, False).name == "products"


def test_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    x = torch.randn(5, 3)
    empirical_ntk(model, x, memory=100)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks
    with torch.inference_mode():
        assert empirical_ntk(model, x).shape == (5, 5)
    with torch.no_grad():
        assert empirical_ntk(model, torch.randn(5, 3)).shape == (5, 5)


def test_whole_numbers_as_inputs():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)).double()
    tokens = torch.randint(9, (4, 3))
    close(empirical_ntk(model, tokens), oracle(model, tokens))


def test_nngp_is_the_mean_product_of_outputs():
    model, x, y = nn.Linear(4, 3).double(), torch.randn(5, 4).double(), torch.randn(2, 4).double()
    close(empirical_nngp(model, x), (model(x) @ model(x).T / 3).detach())
    close(empirical_nngp(model, x, y), (model(x) @ model(y).T / 3).detach())
    assert empirical_nngp(nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), x.float()).shape == (5, 5)


BAD = {
    "x1: got shape": lambda m, x: empirical_ntk(m, x[:0]),
    "values are NaN": lambda m, x: empirical_ntk(m, x * torch.nan),
    "x1: got torch.float64": lambda m, x: empirical_ntk(m, x.double()),
    "x2: got torch.float32 examples of shape": lambda m, x: empirical_ntk(m, x, x[:, :2]),
    "x1: got \\[\\[1.0\\]\\]": lambda m, x: empirical_ntk(m, [[1.0]]),
    "train: got 'middle'": lambda m, x: empirical_ntk(m, x, train="middle"),
    "outputs: got 'trace'": lambda m, x: empirical_ntk(m, x, outputs="trace"),
    "method: got 'magic'": lambda m, x: empirical_ntk(m, x, method="magic"),
    "memory: got 0": lambda m, x: empirical_ntk(m, x, memory=0),
    "model: got 3": lambda m, x: empirical_ntk(3, x),
    "no parameter to train": lambda m, x: empirical_ntk(nn.ReLU(), x),
    "'1' normalises over the batch": lambda m, x: empirical_ntk(nn.Sequential(m, nn.BatchNorm1d(2)), x),
    "two passes over the same rows differ": lambda m, x: empirical_ntk(nn.Sequential(m, nn.Dropout(0.5)), x),
    "depends on the other examples": lambda m, x: empirical_ntk(nn.Sequential(m, Centre()), x),
    "its output is": lambda m, x: empirical_ntk(nn.Sequential(m, Total()), x),
    "model: .* is the first to make values": lambda m, x: empirical_ntk(nn.Sequential(m, Overflow()), x),
    "mask: got '5.weight'": lambda m, x: empirical_ntk(m, x, mask=ww.Mask({"5.weight": torch.ones(2, 2) > 0})),
    "GiB are free": lambda m, x: empirical_ntk(nn.Linear(1, 2), x[:1, :1].expand(10**7, 1)),
}


class Centre(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Total(nn.Module):
    def forward(self, x):
        return x.sum()


class Overflow(nn.Module):
    def forward(self, x):
        return x / 0


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused(message):
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    with pytest.raises((InputError, InputTypeError), match=message):
        BAD[message](model, x)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_resnet(method):
    model = ww.models.resnet18(3, width=2).double().eval()
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    close(empirical_ntk(model, x, method=method, outputs="full"), oracle(model, x, full=True))
