"""Figure 8 of the paper on wider nets: descent on balanced weights against autograd in the paper's parameterisation."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise.experiments.wider_nets import fig8
from widthwise.experiments.wider_nets.sparse_net import Task, accuracies, sparse_net
from widthwise.training import TrainConfig
from widthwise.training.sparse_family import SparseFamily
from widthwise.training.sparse_loop import train_sparse


@pytest.mark.parametrize("live", [20, 150])
def test_balanced_network_steps_as_the_papers_would(live):
    d, n, rate = 30, 10, 0.7
    model, pruned = sparse_net(d, n, 3, live, seed=1)
    balance, alive = (d / n) ** 0.25, ~pruned["0.weight"]
    u = nn.Parameter(model[0].weight.detach() * d**0.5 / balance)
    v = nn.Parameter(model[2].weight.detach() * n**0.5 * balance)
    assert int(alive.sum()) == live == int((u != 0).sum())
    x, labels = torch.randn(8, d), torch.randint(3, (8,))
    out = (x @ u.T).relu() @ v.T / (n * d) ** 0.5
    torch.testing.assert_close(model(x), out)
    functional.cross_entropy(out, labels).backward()
    family = SparseFamily([model], [pruned])
    train_sparse(family, (x, labels), TrainConfig(1, 8, 1.0), seed=0, rates=torch.tensor([rate / (n * d) ** 0.5]))
    with torch.no_grad():
        u -= rate * u.grad * alive
        v -= rate * v.grad
    after = (x @ u.T).relu() @ v.T / (n * d) ** 0.5
    torch.testing.assert_close(family.model(0)(x), after)


def test_weights_have_the_variance_of_their_connectivity():
    model, pruned = sparse_net(784, 200, 10, 20_000, seed=0)
    live = model[0].weight.detach()[~pruned["0.weight"]] * 784**0.5 / (784 / 200) ** 0.25
    assert abs(float(live.var()) * 20_000 / (784 * 200) - 1) < 0.05


def test_sparse_networks_learn_and_diverged_ones_count_as_nothing():
    x, y = torch.randn(300, 12), torch.randint(2, (300,))
    x[:, 0] += 4.0 * y - 2
    task = Task((x[:200], y[:200]), (x[:0], y[:0]), (x[200:], y[200:]))
    good, bad = accuracies(task, task.test, [(16, 100, 3.0), (16, 100, 1e30)], epochs=60, seed=0)
    assert good > 0.9
    assert bad == 0


def test_figure_8_at_smoke_scale():
    outcome = fig8(seeds=2)
    assert [row["width"] for row in outcome.rows] == [6, 18, 36]
    assert all(row["measured"] > 0 and 0 <= row["accuracy"] <= 1 for row in outcome.rows)
