"""Training the default digits family together, against the same networks one after another.

The family is that of `widthwise compare`: the dense baseline, and at each of five widths dense, sparse, magnitude and
SNIP networks, five seeds each: 105 networks. One after another means PyTorch's own modules, autograd and SGD, masks
kept by the package's own hook. Both train the same networks on the same batches, to the same result, which is checked.
"""

from __future__ import annotations

import argparse
import copy

import torch
from _timing import header, interleaved, ratio
from torch.nn import functional

from widthwise import data
from widthwise.comparison.nets import Net, make
from widthwise.comparison.plan import Plan, Run
from widthwise.comparison.run import DEFAULT_BASE_WIDTH, perceptron
from widthwise.training import Family, TrainConfig, objective_for, train
from widthwise.training.loop import order_of

Pair = tuple[torch.Tensor, torch.Tensor]


def together(nets: list[Net], runs: list[Run], pair: Pair, config: TrainConfig) -> Family:
    """Train all networks as one computation."""
    family = Family([net.model for net in nets], [net.pruned for net in nets])
    train(family, pair, config, objective_for("classification"), seeds=[run.seed for run in runs])
    return family


def one_by_one(nets: list[Net], runs: list[Run], pair: Pair, config: TrainConfig) -> list[torch.nn.Module]:
    """Train the same networks as PyTorch users do, one after another."""
    x, y = pair
    models = [copy.deepcopy(net.model) for net in nets]
    for model, run in zip(models, runs, strict=True):
        optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
        for epoch in range(config.epochs):
            for batch in order_of(len(x), run.seed, epoch).split(config.batch_size):
                optimizer.zero_grad()
                functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
    return models


def main() -> None:
    """Time both on every width, interleaved, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3, help="epochs a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    header("training the default digits family together, against one network after another")
    splits = data.split(data.load("digits"))
    config = TrainConfig(epochs=options.epochs)
    plan = Plan(perceptron(splits, depth=1, activation="relu"), DEFAULT_BASE_WIDTH, train=config)
    totals: dict[str, list[float]] = {"together": [0.0] * options.rounds, "one by one": [0.0] * options.rounds}
    for width in (plan.base_width, *plan.widths):
        runs = [run for run in plan.runs("bench") if run.width == width]
        nets = [make(run, plan.architecture.build, splits.train) for run in runs]
        check_same(nets, runs, splits.train, config)
        seconds = interleaved(
            {
                "together": lambda n=nets, r=runs: together(n, r, splits.train, config),
                "one by one": lambda n=nets, r=runs: one_by_one(n, r, splits.train, config),
            },
            options.rounds,
        )
        totals = {name: [a + b for a, b in zip(totals[name], seconds[name], strict=True)] for name in totals}
        print(f"width {width:3d}, {len(runs):2d} networks: {ratio(seconds['one by one'], seconds['together'])}")
    print(f"whole family: {ratio(totals['one by one'], totals['together'])}")


def check_same(nets: list[Net], runs: list[Run], pair: Pair, config: TrainConfig) -> None:
    """Raise if the two ways end at different weights."""
    family = together(nets, runs, pair, config)
    for i, model in enumerate(one_by_one(nets, runs, pair, config)):
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(family.params[name][i], parameter.detach(), rtol=1e-3, atol=1e-4)


if __name__ == "__main__":
    main()
