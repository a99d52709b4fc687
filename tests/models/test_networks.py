"""Built-in networks: shapes, counts, recipes and the stable scaling."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, jvp

from widthwise import models
from widthwise.errors import InputError
from widthwise.models import Residual, build, recipe_of

SMALL = {
    "resnet20": {"width": 0.25, "in_channels": 1, "num_classes": 3},
    "resnet18": {"width": 2, "in_channels": 1, "num_classes": 3},
    "vgg16": {"width": 0.05, "in_channels": 1, "num_classes": 3},
    "vanilla_cnn": {"image_size": 32, "channels": 4, "depth": 3, "num_classes": 3},
    "vit": {"in_channels": 1, "patch": 8, "width": 12, "depth": 2, "heads": 3, "num_classes": 3},
    "residual_mlp": {"in_features": 1024, "out_features": 3, "width": 8, "depth": 4},
}
RESIDUAL = {"resnet20": 9, "resnet18": 8, "vit": 4, "residual_mlp": 4}


def small(name: str, **changes) -> nn.Module:
    return getattr(models, name)(**SMALL[name], **changes)


def weights(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.dim() > 1)


@pytest.mark.parametrize("name", SMALL)
def test_images_become_logits_and_gradients_reach_every_weight(name):
    model, x = small(name), torch.randn(2, 1, 32, 32)
    output = model(x)
    assert output.shape == (2, 3)
    output.square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert silent == []


@pytest.mark.parametrize("name", [*SMALL, "gpt"])
def test_a_recipe_rebuilds_the_network(name):
    model = small(name) if name in SMALL else models.gpt(vocabulary=11, context=7, width=8, depth=1, heads=2)
    again = build(recipe_of(model))
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 1, 32, 32) if name in SMALL else torch.randint(0, 11, (2, 7))
    assert torch.equal(again.eval()(x), model.eval()(x))


@pytest.mark.parametrize("name", SMALL)
def test_activations_are_chosen_by_name(name):
    kinds = {type(m) for m in small(name, activation="tanh").modules()}
    assert nn.Tanh in kinds
    assert not kinds & {nn.ReLU, nn.GELU}


@pytest.mark.parametrize(("name", "blocks"), RESIDUAL.items())
def test_every_branch_of_a_stable_network_is_scaled_by_the_number_of_blocks(name, blocks):
    scales = {m.scale for m in small(name, stable=True).modules() if isinstance(m, Residual)}
    assert scales == {blocks**-0.5}
    found = [m.scale for m in small(name).modules() if isinstance(m, Residual)]
    assert found == [1.0] * blocks


def test_a_residual_block_is_its_formula():
    branch, shortcut = nn.Linear(3, 3), nn.Linear(3, 3)
    x = torch.randn(4, 3)
    block = copy.deepcopy(Residual(branch, shortcut=shortcut, scale=0.25, after=nn.Tanh()))
    torch.testing.assert_close(block(x), torch.tanh(shortcut(x) + 0.25 * branch(x)))


@pytest.mark.parametrize(("depth", "blocks"), [(20, 9), (32, 15), (44, 21), (50, 24), (56, 27), (104, 51)])
def test_a_cifar_resnet_has_its_layers_and_blocks(depth, blocks):
    with torch.device("meta"):
        model = getattr(models, f"resnet{depth}")(width=2)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) or getattr(m, "kernel_size", 0) == (3, 3)]
    assert (len(layers), sum(isinstance(m, Residual) for m in model.modules())) == (depth, blocks)
    assert model.output.in_features == 128


def test_resnet32_has_the_weights_counted_by_hand():
    with torch.device("meta"):
        model = models.resnet32()
    stages = 9 * (16**2 * 10 + 16 * 32 + 32**2 * 9 + 32 * 64 + 64**2 * 9)
    assert weights(model) == 9 * 3 * 16 + stages + 16 * 32 + 32 * 64 + 64 * 10


@pytest.mark.parametrize(("width", "count"), [(8, 1.8e5), (12, 3.9e5), (18, 8.8e5), (40, 4.4e6), (64, 1.1e7)])
def test_resnet18_has_the_weights_of_the_wider_nets_paper(width, count):
    with torch.device("meta"):
        model = models.resnet18(width=width)
    assert float(f"{weights(model):.1e}") == count


def test_vgg_repeats_the_convolutions_between_poolings():
    with torch.device("meta"):
        once, thrice = models.vgg16(), models.vgg16(repeat=3)
    count = [sum(isinstance(m, nn.Conv2d) for m in model.modules()) for model in (once, thrice)]
    pools = [sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) for model in (once, thrice)]
    assert (count, pools) == ([13, 39], [5, 5])


@pytest.mark.parametrize("size", [1, 8, 28, 33])
def test_vgg_takes_images_of_any_size(size):
    assert small("vgg16").eval()(torch.randn(1, 1, size, size)).shape == (1, 3)


def test_a_vanilla_cnn_does_not_know_where_it_stands():
    model = small("vanilla_cnn").eval()[:-2]
    x = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(model(x.roll((3, 5), (2, 3))), model(x).roll((3, 5), (2, 3)))


def test_gpt_does_not_look_ahead():
    model = models.gpt(vocabulary=11, context=6, width=8, depth=2, heads=2)
    tokens = torch.randint(0, 11, (1, 6))
    changed = tokens.clone()
    changed[0, 4] = (changed[0, 4] + 1) % 11
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_attention_is_that_of_torch():
    own = models.vit(**SMALL["vit"]).attention1.branch.mix
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": own.enter.weight,
            "in_proj_bias": own.enter.bias,
            "out_proj.weight": own.leave.weight,
            "out_proj.bias": own.leave.bias,
        }
    )
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(own(x), theirs(x, x, x, need_weights=False)[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch's own forward mode
@pytest.mark.parametrize("name", ["vit", "resnet20"])
def test_networks_can_be_differentiated_twice_and_forward(name):
    model, x = small(name).eval(), torch.randn(2, 1, 32, 32)
    params = dict(model.named_parameters())
    loss = model(x).square().sum()
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    torch.autograd.grad(sum(g.square().sum() for g in grads), list(params.values()))
    tangents = {n: torch.ones_like(p) for n, p in params.items()}
    _, slope = jvp(lambda p: functional_call(model, p, x).square().sum(), (params,), (tangents,))
    expected = sum(g.sum() for g in grads)
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet32", {"width": 0.01}, "width: got 0.01"),
        ("resnet32", {"num_classes": 0}, "num_classes: got 0"),
        ("resnet18", {"width": 0}, "width: got 0"),
        ("resnet18", {"activation": "relo"}, "did you mean 'relu'"),
        ("vgg16", {"repeat": 0}, "repeat: got 0"),
        ("vanilla_cnn", {"stride": 0}, "stride: got 0"),
        ("residual_mlp", {"in_features": 2, "out_features": 1, "depth": -1}, "depth: got -1"),
        ("vit", {"patch": 5}, "patch: got 5, allowed is a divisor of image_size 32"),
        ("vit", {"heads": 5}, "heads: got 5, allowed is a divisor of width 192"),
        ("gpt", {"context": 0}, "context: got 0"),
    ],
)
def test_bad_sizes_are_named(name, arguments, message):
    with pytest.raises(InputError, match=message):
        getattr(models, name)(**arguments)


def test_gpt_names_its_context_when_a_row_is_too_long():
    model = models.gpt(vocabulary=5, context=3, width=4, depth=1, heads=1)
    with pytest.raises(InputError, match="tokens: got 4 in a row, allowed are at most 3"):
        model(torch.zeros(1, 4, dtype=torch.long))
