"""The shallow network (2), and layers of unequal nodes in other models."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from widthwise import checkpoint
from widthwise.errors import InputError, InputTypeError
from widthwise.models import NodeScaled, NodeScaledAttention, NodeScaledBlock, Shallow, build, node_scaled, recipe_of
from widthwise.scaling import uniform, zipf


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_shallow_network_is_the_formula(activation, outputs):
    d, m = 5, 7
    model = Shallow(d, zipf(m, 0.5, 0.2), outputs, activation).double()
    x = torch.randn(4, d, dtype=torch.float64)
    phi = {"relu": torch.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu}[activation]
    for i in range(4):
        for k in range(outputs):
            terms = [
                math.sqrt(model.lam[j]) * model.sign[k, j] * phi(model.weight[j] @ x[i] / math.sqrt(d))
                for j in range(m)
            ]
            torch.testing.assert_close(model(x)[i, k], sum(terms))


def test_only_the_weights_of_the_first_layer_train_and_signs_are_signs():
    model = node_scaled(4, 2, width=500, init_variance=2.0)
    assert [name for name, _ in model.named_parameters()] == ["weight"]
    assert set(model.sign.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(model.sign.mean())) < 0.2
    assert float(model.weight.detach().var()) == pytest.approx(2.0, rel=0.15)


def test_one_seed_gives_all_scalings_the_same_weights_and_signs():
    found = []
    for gamma, alpha in ((1.0, None), (0.0, 0.4)):
        torch.manual_seed(3)
        found.append(node_scaled(4, width=50, gamma=gamma, alpha=alpha))
    assert torch.equal(found[0].weight, found[1].weight)
    assert torch.equal(found[0].sign, found[1].sign)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.2)", torch.sin])
def test_the_dense_network_computes_the_same(activation):
    model = Shallow(5, zipf(20, 0.5, 0.2), 2, activation)
    x = torch.randn(6, 5)
    plain = model.dense()
    torch.testing.assert_close(plain(x), model(x))
    assert not any(isinstance(layer, Shallow) for layer in plain.modules())


def test_a_file_rebuilds_the_network_and_what_is_made_of_it(tmp_path):
    model = node_scaled(5, 2, width=20, gamma=0.2, alpha=0.5, activation="tanh")
    x = torch.randn(6, 5)
    for i, each in enumerate((model, model.dense())):
        checkpoint.save(each, tmp_path / f"{i}.safetensors")
        torch.testing.assert_close(checkpoint.load(tmp_path / f"{i}.safetensors")(x), each(x))
    assert torch.equal(build(recipe_of(model)).lam, model.lam)


def test_it_deep_copies_and_moves_to_double():
    model = copy.deepcopy(node_scaled(3, width=9)).double()
    assert model(torch.randn(2, 3, dtype=torch.float64)).dtype == torch.float64
    assert model(torch.randn(2, 3, 1, dtype=torch.float64)).shape == (2, 1)


@pytest.mark.parametrize(
    ("layer", "shape", "dim"),
    [
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU()), (2, 4), -1),
        (nn.Sequential(nn.Linear(4, 6), nn.Softplus()), (2, 3, 4), -1),
        (nn.Conv1d(4, 6, 3), (2, 4, 8), -2),
        (nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.GELU()), (2, 4, 8, 8), -3),
        (nn.Conv2d(4, 6, 3), (4, 8, 8), -3),
        (nn.Conv3d(4, 6, 2), (2, 4, 3, 3, 3), -4),
        (nn.Identity(), (2, 6), -1),
    ],
)
def test_a_scaled_layer_multiplies_its_nodes(layer, shape, dim):
    lam = zipf(6, 0.5, 0.2)
    x = torch.randn(shape)
    scaled = NodeScaled(layer.eval(), lam)
    expected = layer(x).movedim(dim, -1) * torch.sqrt(6 * lam).float()
    torch.testing.assert_close(scaled(x), expected.movedim(-1, dim))
    torch.testing.assert_close(NodeScaled(layer, uniform(6))(x), layer(x))


def test_the_gradient_of_a_scaled_node_carries_its_factor():
    lam = zipf(3, 0.5, 0.0)
    layer = nn.Linear(2, 3)
    x = torch.randn(5, 2)
    (plain,) = torch.autograd.grad(layer(x).sum(), layer.weight)
    (scaled,) = torch.autograd.grad(NodeScaled(layer, lam)(x).sum(), layer.weight)
    torch.testing.assert_close(scaled, plain * torch.sqrt(3 * lam).float().unsqueeze(1))


def test_attention_with_equal_heads_is_pytorchs():
    ours = NodeScaledAttention(12, uniform(3)).eval()
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.output.state_dict())
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(ours(x, causal=True), theirs(x, x, x, attn_mask=mask)[0])
    torch.testing.assert_close(ours(x, mask=mask), ours(x, causal=True))


def test_a_head_is_scaled_as_if_its_part_of_the_projection_were():
    lam = zipf(3, 0.5, 0.2)
    scaled, plain = NodeScaledAttention(12, lam), NodeScaledAttention(12, uniform(3))
    plain.load_state_dict({**scaled.state_dict(), "heads.lam": uniform(3)})
    with torch.no_grad():
        plain.output.weight.mul_(torch.sqrt(3 * lam).float().repeat_interleave(4))
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(scaled(x), plain(x))


def test_a_block_with_equal_nodes_is_pytorchs_encoder_layer():
    block = NodeScaledBlock(12, uniform(3), uniform(20), activation="relu").eval()
    theirs = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, norm_first=True).eval()
    attention = block.attention
    parts = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
    theirs.self_attn.out_proj.load_state_dict(attention.output.state_dict())
    theirs.linear1.load_state_dict(block.mlp[0].layer[0].state_dict())
    theirs.linear2.load_state_dict(block.mlp[1].state_dict())
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(block(x), theirs(x))


def test_scaled_layers_train_within_any_model():
    body = nn.Sequential(nn.Flatten(), NodeScaled(nn.Sequential(nn.Linear(16, 16), nn.ReLU()), zipf(16, 0.5, 0.2)))
    model = nn.Sequential(
        NodeScaled(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), zipf(4, 0.5, 0.2)),
        nn.AdaptiveAvgPool2d(2),
        body,
        nn.Linear(16, 1),
    )
    x, y = torch.randn(20, 1, 6, 6), torch.randn(20, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: node_scaled(3, width=0), "width: got 0"),
        (lambda: node_scaled(0), "in_features: got 0"),
        (lambda: node_scaled(3, 0), "out_features: got 0"),
        (lambda: node_scaled(3, alpha=1.0), "alpha: got 1.0"),
        (lambda: node_scaled(3, gamma=2.0), "gamma: got 2.0"),
        (lambda: node_scaled(3, activation="relo"), "relu"),
        (lambda: node_scaled(3, init_variance=0.0), "init_variance: got 0.0"),
        (lambda: node_scaled(3, width=4)(torch.ones(2, 5)), "x: got 5 features"),
        (lambda: NodeScaled(nn.Linear(3, 5), zipf(4, 0.5)), "lam: got 4 scalings .* but Linear has 5 outputs"),
        (
            lambda: NodeScaled(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), zipf(3, 0.5)),
            "Conv2d has 8 outputs",
        ),
        (lambda: NodeScaled(nn.Linear(3, 8), zipf(3, 0.5), block=4), "3 scalings in blocks of 4"),
        (lambda: NodeScaled(nn.Flatten(), zipf(5, 0.5))(torch.ones(2, 3)), "lam: got 5 scalings"),
        (lambda: NodeScaled(nn.Linear(3, 4), [-1.0, 1.0]), "lam: got -1"),
        (lambda: NodeScaled(nn.Identity(), zipf(5, 0.5), dim=3)(torch.ones(2, 5)), "along dimension 3"),
        (lambda: NodeScaledAttention(10, uniform(3)), "features: got 10 for 3 heads"),
    ],
)
def test_bad_sizes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_layers_of_which_only_running_them_tells_the_nodes_are_taken():
    halves = NodeScaled(nn.Sequential(nn.Linear(3, 8), nn.GLU()), uniform(4))
    heads = NodeScaled(nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (4, 2))), uniform(4), dim=1)
    rows = NodeScaled(nn.Linear(3, 5), uniform(4), dim=-2)
    x = torch.randn(4, 3)
    for scaled in (halves, heads, rows):
        torch.testing.assert_close(scaled(x), scaled.layer(x))


def test_bad_types_are_refused():
    with pytest.raises(InputTypeError, match="layer"):
        NodeScaled(torch.relu, uniform(3))
    with pytest.raises(InputTypeError, match="dim"):
        NodeScaled(nn.Identity(), uniform(3), dim="channels")
