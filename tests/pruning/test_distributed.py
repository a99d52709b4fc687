"""Two processes prune on different data, agree on one mask, and train with it."""

from __future__ import annotations

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from widthwise.masks import Mask
from widthwise.pruning import prune
from widthwise.weights import prunable


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(100 + rank)
    data = torch.randn(30, 8), torch.arange(30) % 3
    mask = prune(model, 0.75, "snip", data, functional.cross_entropy, rounds=2)
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    assert Mask.of(model) == mask
    mask.save(f"{folder}/mask{rank}")
    torch.save({n: p.detach() for n, p in prunable(model).items()}, f"{folder}/weights{rank}")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this build of torch lacks gloo")
def test_ranks_take_the_mask_of_rank_0_and_stay_equal(tmp_path):
    multiprocessing.spawn(work, (str(tmp_path),), nprocs=2)
    first, second = (Mask.load(tmp_path / f"mask{rank}") for rank in (0, 1))
    weights = [torch.load(tmp_path / f"weights{rank}", weights_only=True) for rank in (0, 1)]
    assert first == second
    assert list(first) == ["0.weight", "3.weight"]
    assert first.kept == 44
    for name, mask in first.items():
        assert torch.equal(weights[0][name], weights[1][name])
        assert torch.equal(weights[0][name] != 0, mask)
