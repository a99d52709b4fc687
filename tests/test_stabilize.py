"""Stable residual networks made from existing ones."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from widthwise import checkpoint, models
from widthwise.errors import InputError, InputTypeError
from widthwise.init import edge_of_chaos_
from widthwise.pruning import prune
from widthwise.sparse import densify, sparsify
from widthwise.stabilize import stabilize


class Basic(nn.Module):
    """The usual block, as users write it, with a constant factor that is the oracle."""

    def __init__(self, fan_in, fan_out, stride=1, scale=1.0):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False), nn.BatchNorm2d(fan_out)
        self.conv2, self.bn2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False), nn.BatchNorm2d(fan_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or fan_in != fan_out:
            self.downsample = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride), nn.BatchNorm2d(fan_out))
        self.scale = scale

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.scale != 1:
            out = self.scale * out
        out += identity
        return self.relu(out)


class PreActivation(nn.Module):
    def __init__(self, fan_in, fan_out, stride=1, scale=1.0):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(fan_in), nn.Conv2d(fan_in, fan_out, 3, stride, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(fan_out), nn.Conv2d(fan_out, fan_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride) if stride != 1 or fan_in != fan_out else None
        self.scale = scale

    def forward(self, x):
        out = functional.relu(self.bn1(x))
        shortcut = self.shortcut(out) if self.shortcut is not None else x
        out = self.conv2(functional.relu(self.bn2(self.conv1(out))))
        return (out if self.scale == 1 else out * self.scale) + shortcut


class Attending(nn.Module):
    """A transformer block out of torch's attention, with dropout and a learned scale after the perceptron."""

    def __init__(self, width, scale=1.0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width), nn.Dropout(0.1))
        self.gamma = nn.Parameter(torch.rand(width))
        self.scale = scale

    def forward(self, x):
        y = self.norm1(x)
        mixed = self.attention(y, y, y, need_weights=False)[0]
        x = x + (mixed if self.scale == 1 else self.scale * mixed)
        out = self.gamma * self.mlp(self.norm2(x))
        return x + (out if self.scale == 1 else self.scale * out)


def residual(block, scale=1.0) -> nn.Sequential:
    stem = nn.Conv2d(1, 4, 3, padding=1)
    blocks = [block(4, 4, 1, scale), block(4, 6, 2, scale), block(6, 6, 1, scale)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def transformer(scale=1.0) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 4), Attending(4, scale), Attending(4, scale), nn.Linear(4, 3))


CASES = {
    "usual": (lambda scale=1.0: residual(Basic, scale), 3, (2, 1, 8, 8), "1.bn2.weight"),
    "pre-activation": (lambda scale=1.0: residual(PreActivation, scale), 3, (2, 1, 8, 8), "1.conv2.weight"),
    "transformer": (transformer, 4, (2, 7, 5), "1.attention.out_proj.weight"),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def randomised(model: nn.Module) -> nn.Module:
    """Give every parameter a value that matters: biases and affine parameters are not 0 or 1."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model.double()


def test_the_folded_network_is_the_one_with_constant_factors(case):
    build, blocks, shape, first = case
    model = randomised(build())
    oracle = build(blocks**-0.5).double().eval()
    oracle.load_state_dict(model.state_dict())
    before = model.training
    done = stabilize(model)
    assert (done.blocks, done.factor) == (blocks, blocks**-0.5)
    assert first in {name for branch in done.branches for name in branch.parameters}
    assert model.training is before
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(model.eval()(x), oracle(x))


def test_snip_scores_are_those_of_constant_factors(case):
    build, blocks, shape, _ = case
    model = randomised(build())
    oracle = build(blocks**-0.5).double().eval()
    oracle.load_state_dict(model.state_dict())
    stabilize(model.eval())
    x = torch.randn(shape, dtype=torch.float64)
    for network in (model, oracle):
        network(x).square().sum().backward()
    for (name, a), (_, b) in zip(model.named_parameters(), oracle.named_parameters(), strict=True):
        torch.testing.assert_close((a * a.grad).detach(), (b * b.grad).detach(), msg=name)


def test_the_scaling_survives_state_dict_and_deepcopy_and_keeps_the_keys(case):
    build, _, shape, _ = case
    model = build()
    keys = list(model.state_dict())
    stabilize(model)
    again = build()
    again.load_state_dict(model.state_dict())
    x = torch.randn(shape)
    expected = model.eval()(x)
    assert list(model.state_dict()) == keys
    assert torch.equal(again.eval()(x), expected)
    assert torch.equal(copy.deepcopy(model)(x), expected)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("resnet20", {"width": 0.25}, (2, 3, 16, 16)),
        ("resnet18", {"width": 2}, (2, 3, 16, 16)),
        ("resnet20", {"width": 0.25, "batch_norm": False}, (2, 3, 16, 16)),
        ("vit", {"width": 6, "depth": 2, "patch": 16}, (2, 3, 32, 32)),
        ("residual_mlp", {"in_features": 3, "out_features": 2, "depth": 5}, (4, 3)),
    ],
)
def test_a_built_in_network_becomes_its_stable_variant(name, arguments, shape):
    plain = randomised(getattr(models, name)(**arguments))
    stable = getattr(models, name)(**arguments, stable=True).double().eval()
    stable.load_state_dict(plain.state_dict())
    stabilize(plain.eval())
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(plain(x), stable(x), rtol=1e-6, atol=1e-6)


def test_a_language_model_whose_embedding_cannot_be_traced_is_handled():
    model = models.gpt(vocabulary=7, context=4, width=4, depth=2, heads=1)
    assert [branch.ends for branch in stabilize(model).branches] == [
        (f"{kind}{i}.branch.{end}",)
        for i in (1, 2)
        for kind, end in (("attention", "mix.leave"), ("perceptron", "leave"))
    ]


def test_a_network_that_is_stable_already_is_refused():
    with pytest.raises(InputError, match=r"stage1\.0\.branch\.norm2' is scaled already, by 0\.333"):
        stabilize(models.resnet20(stable=True))


def again(model: nn.Module) -> None:
    with pytest.raises(InputError, match="were scaled by an earlier call, the first '.*'; allowed is one call"):
        stabilize(model)


def test_a_second_call_is_refused_and_leaves_the_model(case, tmp_path):
    build, _, _, first = case
    model = build()
    stabilize(model)
    weight = model.get_parameter(first).detach().clone()
    again(model)
    again(copy.deepcopy(model))
    again(nn.Sequential(model, nn.Linear(3, 3)))
    with pytest.raises(InputError, match="scaled by an earlier call"):
        stabilize(model, [first.rpartition(".")[0]])
    checkpoint.save(model, tmp_path / "m.safetensors")
    again(checkpoint.load(tmp_path / "m.safetensors", build()))
    assert torch.equal(model.get_parameter(first), weight)
    checkpoint.save(build(), tmp_path / "new.safetensors")
    stabilize(checkpoint.load(tmp_path / "new.safetensors", model))


def test_weights_drawn_anew_may_be_scaled_anew_but_what_ends_a_branch_must_be_among_them():
    bare = models.resnet20(width=0.25, batch_norm=False)
    normed = models.resnet20(width=0.25)
    for model in (bare, normed):
        stabilize(model)
        edge_of_chaos_(model, "relu")
    assert stabilize(bare).blocks == 9
    again(normed)  # the factor is in its BatchNorm


def test_what_cannot_be_told_from_training_stays_refused_and_a_model_built_anew_takes_it():
    build = partial(models.residual_mlp, in_features=8, out_features=2, width=8, depth=3)
    model, fresh = build(), build()
    done = stabilize(model)
    model.load_state_dict(fresh.state_dict())
    again(model)
    for branch in done.branches:
        model.get_submodule(branch.ends[0]).reset_parameters()
    again(model)
    new = build()
    new.load_state_dict(model.state_dict())
    assert stabilize(new).blocks == done.blocks


def test_sparse_layers_remember_that_they_were_scaled():
    model = models.residual_mlp(in_features=8, out_features=2, width=8, depth=3)
    stabilize(model)
    prune(model, 0.8, "random")
    again(densify(sparsify(model, policy="always")))


@pytest.mark.parametrize("norm_first", [False, True])
def test_layers_of_torch_transformers_are_known(norm_first):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    weight = model.layers[2].linear2.weight.detach().clone()
    done = stabilize(model)
    assert done.blocks == 6
    torch.testing.assert_close(model.layers[2].linear2.weight, weight * 6**-0.5)
    assert stabilize(nn.Sequential(nn.Linear(4, 4), copy.deepcopy(layer))).blocks == 2
    assert stabilize(nn.TransformerDecoderLayer(4, 2, 8)).blocks == 3


class Parallel(nn.Module):
    """Two branches beside each other, a stochastic depth that is off in evaluation, and a sum that is no residual."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(3, 3) for _ in range(4))

    def drop(self, x: Tensor) -> Tensor:
        return x * torch.rand((x.shape[0],) + (1,) * (x.ndim - 1)) if self.training else x

    def forward(self, x):
        x = self.a(x) + self.b(x)
        return x + self.drop(self.c(x)) + self.d(x)


def test_parallel_branches_count_each_and_other_sums_are_told():
    done = stabilize(Parallel())
    assert [branch.ends for branch in done.branches] == [("c",), ("d",)]
    assert done.unscaled == ("'a' + 'b'",)
    assert str(done).splitlines()[0] == "2 residual branches scaled by 0.707107"
    assert "not a residual sum: 'a' + 'b'" in str(done)


class Around(nn.Module):
    """x + branch(x) for any branch."""

    def __init__(self, branch, after=nn.Identity()):  # noqa: B008
        super().__init__()
        self.branch, self.after = branch, after

    def forward(self, x):
        return x + self.after(self.branch(x))


def test_a_sum_of_maps_at_the_end_of_a_branch_is_scaled_whole():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))

        def forward(self, x):
            return self.a(x) - 0 + 2 * torch.relu(self.b(x))

    class Halves(Sum):
        def forward(self, x):
            return 0.5 * self.a(x) + torch.relu(self.b(x)) / 3

    done = stabilize(nn.Sequential(Around(Halves()), Around(nn.Linear(3, 3))))
    assert ("0.branch.a", "0.branch.b.2") in [tuple(sorted(branch.ends)) for branch in done.branches]
    with pytest.raises(InputError, match="ends in sub after"):
        stabilize(Around(Sum()))


def shared() -> nn.Module:
    block = Around(nn.Linear(3, 3))
    return nn.Sequential(block, block, Around(nn.Linear(3, 3)))


def test_a_block_used_twice_is_two_blocks_and_scaled_once():
    model = shared()
    weight = model[0].branch.weight.detach().clone()
    assert stabilize(model).blocks == 3
    torch.testing.assert_close(model[0].branch.weight, weight * 3**-0.5)


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.linear = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x + self.linear(self.inner(x)))


class Escaping(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        branch = self.linear(x)
        return torch.cat([x + branch, branch])


class Opaque(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.linear(x) if x.sum() > 0 else x


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), Around(nn.Linear(3, 3)))
    model[0].weight = model[1].branch.weight
    return model


def normalised() -> nn.Module:
    return parametrizations.weight_norm(nn.Linear(3, 3))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(3, 3), "found no residual branch; pass branches"),
        (Around(nn.LazyLinear(3)), "'branch.weight' has no shape yet"),
        (Around(nn.Linear(3, 3), nn.Sigmoid()), "ends in 'after', into which a factor cannot be folded exactly"),
        (Around(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False)), "'after', a BatchNorm1d without a weight"),
        (Around(normalised()), "without a weight to scale"),
        (Reused(), "'linear' ends a branch but is called elsewhere too"),
        (Escaping(), "the output of 'linear' ends a branch but is used elsewhere too"),
        (tied(), "a branch ends in '0.weight', which is tied to '1.branch.weight'"),
        (nn.Sequential(nn.Linear(3, 3), Opaque()), "cannot follow the forward pass of '1'; pass branches"),
        (Opaque(), r"cannot follow the forward pass of the model itself \(symbolically"),
    ],
)
def test_what_cannot_be_handled_is_named_and_left_alone(model, message):
    before = {n: v.clone() for n, v in model.state_dict().items() if not nn.parameter.is_lazy(v)}
    with pytest.raises(InputError, match=message):
        stabilize(model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_branches_may_be_given_as_modules_names_or_a_predicate():
    def build() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(Opaque(), Opaque(), Around(nn.Sequential(nn.Linear(3, 3), nn.ReLU())))

    results = []
    for choose in (
        lambda m: [m[0].linear, m[1].linear, m[2].branch],
        lambda m: ["0.linear", "1.linear", "2.branch"],
        lambda m: lambda name, module: name in ("0.linear", "1.linear", "2.branch"),
    ):
        model = build()
        done = stabilize(model, choose(model))
        assert [branch.ends for branch in done.branches] == [("0.linear",), ("1.linear",), ("2.branch.0",)]
        results.append(model.state_dict())
    fresh = build()
    for state in results:
        torch.testing.assert_close(state["2.branch.0.weight"], fresh[2].branch[0].weight * 3**-0.5)
        assert all(torch.equal(state[name], results[0][name]) for name in state)


class Contracted(nn.Module):
    """A branch that ends in a function of a parameter, and of what a layer gives if there is one."""

    def __init__(self, *layers):
        super().__init__()
        self.layers, self.factor = nn.Sequential(*layers), nn.Parameter(torch.ones(3, 3))

    def forward(self, x):
        inner = torch.relu(self.layers(x)) if len(self.layers) else x
        return x + torch.einsum("bi,ij->bj", inner, self.factor)


def test_a_function_that_ends_a_branch_is_named_with_its_place():
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Contracted(nn.Linear(3, 3))))
    with pytest.raises(InputError, match=r"a branch ends in einsum after '1\.0\.layers\.0', .*; let it end in a layer"):
        stabilize(model)
    with pytest.raises(InputError, match=r"a branch ends in einsum in '0', into which"):
        stabilize(nn.Sequential(Contracted()))
    with pytest.raises(InputError, match=r"branches: in '1\.0', the output of x ends a branch but"):
        stabilize(model, ["1.0"])


@pytest.mark.parametrize(
    ("branches", "error", "message"),
    [
        (["nowhere"], InputError, "branches: got 'nowhere', which is no module of the model"),
        ([nn.Linear(1, 1)], InputError, "branches: got a Linear, which is no module of the model"),
        ("branch", InputTypeError, "branches: got str"),
        (3, InputTypeError, "branches: got int"),
        ([], InputError, "found no residual branch"),
        (lambda name, module: False, InputError, "found no residual branch"),
        (["after"], InputError, "ends in input, into which a factor cannot be folded"),
    ],
)
def test_bad_branches_are_named(branches, error, message):
    with pytest.raises(error, match=message):
        stabilize(Around(nn.Linear(3, 3), nn.Sequential(nn.ReLU())), branches)


def test_only_modules_can_be_stabilized():
    with pytest.raises(InputTypeError, match="model: got 'resnet'"):
        stabilize("resnet")
