"""What a mask costs a training step: the same network with and without one, interleaved.

Forward, backward and optimizer step of plain PyTorch modules at 90 % sparsity. The network without a mask pays for the
hook too, which looks for masked parameters after every step of any optimizer and finds none; that is timed on its own.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from _timing import header, interleaved
from torch import nn
from torch.nn import functional

from widthwise import _enforce, prune


def mlp(*widths: int) -> nn.Module:
    """A ReLU network of these widths."""
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def vgg() -> nn.Module:
    """Three convolutions with BatchNorm."""
    convs = [
        layer
        for a, b in ((1, 32), (32, 64), (64, 128))
        for layer in (nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*convs, nn.Flatten(), nn.Linear(128 * 9, 10))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP 784-300-100-10": partial(mlp, 784, 300, 100, 10),
    "MLP 784-1024-1024-10": partial(mlp, 784, 1024, 1024, 10),
    "3 convolutions, 28x28": vgg,
}
OPTIMIZERS = {"SGD": partial(torch.optim.SGD, lr=0.01, momentum=0.9), "Adam": partial(torch.optim.Adam, lr=1e-3)}


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, batch: int, count: int) -> Callable[[], None]:
    """A function that trains ``count`` steps."""
    x, y = torch.randn(batch, 1, 28, 28), torch.randint(0, 10, (batch,))

    def run() -> None:
        for _ in range(count):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    return run


def idle_hook(optimizer: torch.optim.Optimizer, repeats: int = 2000) -> float:
    """Microseconds of the hook for an optimizer without masked parameters."""
    began = time.perf_counter()
    for _ in range(repeats):
        _enforce._after_step(optimizer, (), {})
    return (time.perf_counter() - began) / repeats * 1e6


def main() -> None:
    """Print the ratio for every model, optimizer and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    header("a training step with a mask of 90 % sparsity, against the same step without")
    for title, build in MODELS.items():
        for kind, make in OPTIMIZERS.items():
            for batch in (32, 128):
                dense = build()
                masked = copy.deepcopy(dense)
                prune(masked, 0.9, "random")
                optimizer = make(dense.parameters())
                seconds = interleaved(
                    {
                        "dense": steps(dense, optimizer, batch, options.steps),
                        "masked": steps(masked, make(masked.parameters()), batch, options.steps),
                    },
                    options.rounds,
                )
                ratios = [a / b for a, b in zip(seconds["masked"], seconds["dense"], strict=True)]
                low, middle, high = statistics.quantiles(ratios, n=4)
                step = statistics.median(seconds["dense"]) / options.steps * 1e3
                print(
                    f"  {title:22} {kind:5} batch {batch:3}: {middle:.3f}x (quartiles {low:.3f} to {high:.3f}), "
                    f"dense step {step:.2f} ms, idle hook {idle_hook(optimizer):.1f} us"
                )


if __name__ == "__main__":
    main()
