"""Features of important nodes and the heads put on them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from widthwise import nodes
from widthwise.errors import InputError
from widthwise.models import mlp, node_scaled


def problem(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 4)
    return x, torch.sin(x.sum(1, keepdim=True))


def by_hand(x: torch.Tensor, y: torch.Tensor, head: nn.Module, steps: int, lr: float) -> nn.Module:
    optimizer = torch.optim.SGD(head.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (head(x) - y).square().mean().backward()
        optimizer.step()
    return head


@pytest.mark.parametrize("depth", [1, 2])
def test_heads_of_different_sizes_trained_together_are_those_trained_alone(depth):
    _, y = problem()
    features = [torch.randn(40, k) for k in (1, 3, 7)]
    heads = nodes.train_heads(features, [y] * 3, width=8, depth=depth, steps=30, lr=0.1, seed=5)
    for i, (x, head) in enumerate(zip(features, heads, strict=True)):
        torch.manual_seed(5 + i)
        alone = by_hand(x, y, mlp(x.shape[1], 1, width=8, depth=depth), 30, 0.1)
        torch.testing.assert_close(head(x), alone(x), rtol=1e-4, atol=1e-5)
        assert [tuple(p.shape) for p in head.parameters()] == [tuple(p.shape) for p in alone.parameters()]


def test_a_head_for_classes_learns_them():
    x, y = problem(200)
    classes = (y[:, 0] > 0).long()
    (head,) = nodes.train_heads([x], [classes], task="classification", width=32, steps=800, lr=0.5)
    assert float((head(x).argmax(1) == classes).float().mean()) > 0.95


def test_features_are_the_most_important_hidden_outputs_in_order():
    x, _ = problem()
    model = node_scaled(4, width=30, gamma=0.2, alpha=0.5)
    scores = nodes.importance(model)["nodes"]
    best = torch.argsort(scores, descending=True)[:6]
    torch.testing.assert_close(nodes.NodeFeatures(model, scores, 6)(x), model.features(x)[:, best].detach())
    deep = mlp(4, 2, width=9, depth=2)
    for group, scores in nodes.importance(deep).items():
        assert nodes.NodeFeatures(deep, scores, 3, group)(x).shape == (40, 3)


def test_transfer_puts_a_head_on_frozen_features():
    x, y = problem()
    model = node_scaled(4, width=200, gamma=0.2, alpha=0.5)
    before = model.weight.detach().clone()
    carried = nodes.transfer(model, nodes.importance(model)["nodes"], 50, x, y, steps=300, lr=0.05)
    assert float((carried(x) - y).detach().square().mean()) < 0.5 * float(y.square().mean())
    torch.testing.assert_close(model.weight, before)
    assert all(p.requires_grad is False for p in carried[0].parameters())


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([], "at least one"),
        ([torch.randn(40, 2), torch.randn(39, 2)], "one n for all"),
        ([torch.randn(40)], r"\(n, k\)"),
        ([torch.full((40, 2), float("nan"))], "NaN"),
    ],
)
def test_bad_features_are_refused(features, said):
    _, y = problem()
    with pytest.raises(InputError, match=f"features.*{said}"):
        nodes.train_heads(features, [y] * len(features), steps=2)


def test_a_step_with_which_a_head_diverges_is_refused():
    x, y = problem()
    with pytest.raises(InputError, match="lr: got 1000, with which a head diverges"):
        nodes.train_heads([x], [y], steps=200, lr=1000.0)


def test_scores_and_numbers_of_features_must_fit():
    model = node_scaled(4, width=30)
    with pytest.raises(InputError, match="scores: got shape"):
        nodes.NodeFeatures(model, torch.ones(29), 3)
    for k in (0, 31):
        with pytest.raises(InputError, match="k: got"):
            nodes.NodeFeatures(model, torch.ones(30), k)
