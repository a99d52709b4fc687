"""Nodes of convolutions, normalised layers, attention and transformers: removed exactly, importances by definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from widthwise import nodes
from widthwise.errors import InputError, InputTypeError
from widthwise.masks import Mask
from widthwise.models import NodeScaled, NodeScaledAttention, NodeScaledBlock, mlp
from widthwise.pruning import prune
from widthwise.scaling import zipf


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        NodeScaled(nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU()), zipf(6, 0.5, 0.2)),
        nn.Conv2d(6, 4, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.Tanh(),
        nn.Linear(5, 3),
    ).double()


def silenced(model: nn.Module, reader: str, gone: list[int], block: int, dim: int, x: torch.Tensor) -> torch.Tensor:
    """Output of the model with zeros where the reader would hear the nodes that are gone."""

    def mute(_: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        heard = args[0].clone()
        for node in gone:
            heard.narrow(dim, node * block, block).zero_()
        return (heard,)

    handle = model.get_submodule(reader).register_forward_pre_hook(mute)
    try:
        return model(x)
    finally:
        handle.remove()


def test_channels_and_units_behind_scaling_normalisation_and_pooling():
    model, x = conv_net().eval(), torch.randn(7, 2, 6, 6, dtype=torch.float64)
    model[2].running_mean.normal_()
    model[2].weight.data.normal_()
    groups = nodes.node_groups(model)
    assert [(g.count, g.leaves) for g in groups.values()] == [(6, "1"), (4, "6"), (5, "8")]
    for (name, group), block, dim in zip(groups.items(), (1, 4, 1), (1, 1, 1), strict=True):
        gone = [0, group.count - 2]
        keep = [i for i in range(group.count) if i not in gone]
        smaller = nodes.remove_nodes(model, {name: keep})
        torch.testing.assert_close(smaller(x), silenced(model, group.leaves, gone, block, dim, x))
        assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())


def test_heads_of_attention_and_units_of_a_block():
    model, x = (
        NodeScaledBlock(12, zipf(4, 0.5, 0.2), zipf(20, 0.5, 0.2)).double().eval(),
        torch.randn(2, 5, 12).double(),
    )
    groups = nodes.node_groups(model)
    heads, units = groups
    smaller = nodes.remove_nodes(model, {heads: [0, 2]})
    torch.testing.assert_close(smaller(x), silenced(model, groups[heads].leaves, [1, 3], 3, -1, x))
    smaller = nodes.remove_nodes(model, {units: list(range(15))})
    torch.testing.assert_close(smaller(x), silenced(model, groups[units].leaves, list(range(15, 20)), 1, -1, x))


def test_units_of_pytorchs_own_transformer_layer():
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double()
    x = torch.randn(3, 4, 8).double()
    ((name, group),) = nodes.node_groups(model).items()
    smaller = nodes.remove_nodes(model, {name: range(10)})
    torch.testing.assert_close(smaller(x), silenced(model, group.leaves, list(range(10, 16)), 1, -1, x))


def test_importances_are_their_definitions():
    model, x = conv_net().eval(), torch.randn(7, 2, 6, 6, dtype=torch.float64)
    first, lam = model[0].layer[0].weight.detach(), zipf(6, 0.5, 0.2)
    torch.testing.assert_close(nodes.importance(model, "lam_w2")["0.layer.0"], lam * first.flatten(1).square().sum(1))
    torch.testing.assert_close(nodes.importance(model, "lam")["0.layer.0"], lam)
    heard = model[0](x).detach()
    expected = heard.square().mean((0, 2, 3)) * model[1].weight.detach().square().sum((0, 2, 3))
    torch.testing.assert_close(nodes.importance(model, "activation", x)["0.layer.0"], expected)


def test_risk_grows_from_that_of_the_whole_model():
    model, x = mlp(3, 2, width=10, depth=2).double(), torch.randn(20, 3).double()
    y = model(x).detach()
    risks = nodes.risk_curve(model, x, y, nodes.importance(model), [0, 5, 18])
    assert risks[0] == 0
    assert risks[1] > 0
    assert len(risks) == 3
    with pytest.raises(InputError, match="removed: got 19"):
        nodes.risk_curve(model, x, y, nodes.importance(model), [19])
    for scores, said in (({}, "got none"), ({"hidden1": torch.ones(9)}, "got shape"), ({"hidden3": risks}, "no group")):
        with pytest.raises(InputError, match=said):
            nodes.risk_curve(model, x, y, scores, [0])
    with pytest.raises(InputError, match="scores: 10 of 10 values are NaN"):
        nodes.risk_curve(model, x, y, {"hidden1": torch.full((10,), torch.nan)}, [0])


def test_what_cannot_be_removed_is_said():
    model = mlp(3, 2, width=6)
    for keep, said in (
        ({"hidden2": [0]}, "no group 'hidden2', allowed are hidden1"),
        ({"hidden1": []}, "got shape"),
        ({"hidden1": [0, 0]}, "an index twice"),
        ({"hidden1": [6]}, "outside 0 to 5"),
        ({"hidden1": [-1]}, "outside 0 to 5"),
    ):
        with pytest.raises(InputError, match=said):
            nodes.remove_nodes(model, keep)
    with pytest.raises(InputTypeError, match="whole numbers"):
        nodes.remove_nodes(model, {"hidden1": [0.5]})
    with pytest.raises(InputError, match="no hidden nodes"):
        nodes.importance(nn.Linear(2, 2))
    with pytest.raises(InputError, match="needs examples"):
        nodes.importance(model, "activation")
    with pytest.raises(InputError, match="kind: got 'lamda'"):
        nodes.importance(model, "lamda")
    mask = prune(model, 0.5, "random")
    with pytest.raises(InputError, match="under a mask"):
        nodes.remove_nodes(model, {"hidden1": [0]})
    assert Mask.of(model).kept == mask.kept


def test_attention_alone_has_its_heads():
    model = NodeScaledAttention(8, zipf(2, 0.5)).double()
    x = torch.randn(1, 3, 8).double()
    smaller = nodes.remove_nodes(model, {"heads": [1]})
    torch.testing.assert_close(smaller(x), silenced(model, "output", [0], 4, -1, x))
