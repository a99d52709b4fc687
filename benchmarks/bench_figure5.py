"""The grid of Figure 5 of the wider-nets paper trained as one, against one network at a time.

One network at a time is PyTorch's own modules, autograd and SGD: once masked dense, the masks kept by the package's own
hook, once with the package's sparse layers. All take the same steps on the same batches to the same weights, which is
checked. Rounds are interleaved in one process; the estimate for the figure is 300 epochs of 600 steps.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from _timing import header, interleaved, ratio
from torch import Tensor, nn
from torch.nn import functional

from widthwise import data, sparsify
from widthwise.experiments.wider_nets.shallow import shapes, sparse_nets
from widthwise.masks import Mask
from widthwise.training import TrainConfig
from widthwise.training.sparse_family import SparseFamily
from widthwise.training.sparse_loop import train_sparse

Pair = tuple[Tensor, Tensor]
RATE, BATCH, STEPS = 0.1, 100, 300 * 600


def grid(inputs: int, outputs: int, every: int) -> tuple[list[nn.Module], list[dict[str, Tensor]]]:
    """Every so many of the figure's networks, ReLU and linear."""
    chosen = shapes(inputs, outputs, 5 * (inputs + outputs), [5 * 2**k for k in range(8)])
    models: list[nn.Module] = []
    pruned: list[dict[str, Tensor]] = []
    for activation in ("relu", "linear"):
        found = sparse_nets(inputs, outputs, chosen, activation, 0)
        models += found[0][::every]
        pruned += found[1][::every]
    return models, pruned


def one_at_a_time(models: list[nn.Module], batches: list[Pair]) -> list[nn.Module]:
    """Train each network as PyTorch users do."""
    for model in models:
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        for x, y in batches:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return models


def contenders(
    models: list[nn.Module], pruned: list[dict[str, Tensor]], x: Tensor, y: Tensor, steps: int
) -> dict[str, Callable[[], object]]:
    """The three ways, each to go on from where it is."""
    family = SparseFamily(models, pruned, idle=(x == 0).all(0))
    masked, native = ([copy.deepcopy(model) for model in models] for _ in range(2))
    for i, masks in enumerate(pruned):
        for model in (masked[i], native[i]):
            Mask({name: ~dead for name, dead in masks.items()}).apply(model)
        native[i] = sparsify(native[i].train(), policy="always")
    prepared, rates = family.prepared(x).view(-1, BATCH, x.shape[1] + 1)[:steps], torch.full((len(models),), RATE)
    batches = list(zip(x.view(-1, BATCH, x.shape[1])[:steps], y.view(-1, BATCH)[:steps], strict=True))
    return {
        "together": lambda: family.descend(prepared, y.view(-1, BATCH)[:steps], rates),
        "masked dense": lambda: one_at_a_time(masked, batches),
        "sparse": lambda: one_at_a_time(native, batches),
    }


def check_same(x: Tensor, y: Tensor) -> None:
    """Raise if a family and masked dense networks end at different weights."""
    models, pruned = grid(x.shape[1], 10, 40)
    family = SparseFamily(models, pruned)
    train_sparse(family, (x, y), TrainConfig(epochs=1, batch_size=len(x), lr=RATE), seed=0)
    for i, model in enumerate(models):
        Mask({name: ~dead for name, dead in pruned[i].items()}).apply(model)
        one_at_a_time([model], [(x, y)])
        for mine, theirs in zip(family.model(i).parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def main() -> None:
    """Time the three ways, interleaved, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits", help="MNIST's folder; digits otherwise, which is no measure")
    parser.add_argument("--every", type=int, default=1, help="take every so many networks of the grid")
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    header(f"{BATCH} examples a step, {options.threads} threads")
    found = data.load(options.data)
    x, y = found.x[: options.steps * BATCH].flatten(1), found.y[: options.steps * BATCH]
    x = x / x.max()
    check_same(x[:BATCH], y[:BATCH])
    models, pruned = grid(x.shape[1], 10, options.every)
    seconds = interleaved(contenders(models, pruned, x, y, options.steps), options.rounds)
    for name, each in seconds.items():
        step = min(each) / options.steps
        print(
            f"{name:12s} {1e3 * step:8.1f} ms a step of {len(models)} networks, {step * STEPS / 60:7.0f} min the figure"
        )
    for name in ("masked dense", "sparse"):
        print(f"together is faster than {name}, one at a time: {ratio(seconds[name], seconds['together'])}")


if __name__ == "__main__":
    main()
