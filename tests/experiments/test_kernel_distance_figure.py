"""Figure 8 of the paper on wider nets: its hand-written sparse descent against autograd."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from widthwise.experiments.wider_nets import fig8
from widthwise.experiments.wider_nets.sparse_net import SparseNet, Task, accuracy_after


@pytest.mark.parametrize("live", [20, 150])
def test_sparse_network_steps_as_autograd_would(live):
    net = SparseNet(30, 10, 3, live, seed=1)
    dense = (net.first if live > 30 else net.first.to_dense()).clone()
    first, last = nn.Parameter(dense.clone()), nn.Parameter(net.last.clone())
    mask = dense != 0
    assert int(mask.sum()) == live
    x, labels = torch.randn(8, 30), torch.randint(3, (8,))
    out = (x @ first.T / 30**0.5).relu() @ last.T / 10**0.5
    torch.testing.assert_close(net.outputs(x), out.detach())
    functional.cross_entropy(out, labels).backward()
    net.step(x, labels, 0.7)
    torch.testing.assert_close(net.last, last.detach() - 0.7 * last.grad)
    after = net.first if live > 30 else net.first.to_dense()
    torch.testing.assert_close(after, dense - 0.7 * first.grad * mask)


def test_sparse_network_learns():
    x, y = torch.randn(300, 12), torch.randint(2, (300,))
    x[:, 0] += 4.0 * y - 2
    task = Task(x[:200], y[:200], x[200:], y[200:])
    assert accuracy_after(task, 16, 100, 60, 3.0, 0) > 0.9


def test_figure_8_at_smoke_scale():
    outcome = fig8(seeds=2)
    assert [row["width"] for row in outcome.rows] == [6, 18, 36]
    assert all(row["measured"] > 0 and 0 <= row["accuracy"] <= 1 for row in outcome.rows)
