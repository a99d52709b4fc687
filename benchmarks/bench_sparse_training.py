"""Time of a training step, and of inference, of a whole network: sparse against masked dense and plain dense.

python benchmarks/bench_sparse_training.py [--threads 1] [--rounds 15] [--net mlp|transformer|resnet18] [--in-a-row 10]

A step of a ResNet goes through more memory than any cache holds, so that two in a row tell as much as ten.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial

import torch
from _timing import header, interleaved, ratio
from torch import Tensor, nn

import widthwise as ww
from widthwise.sparse import sparsify

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)


def mlp() -> tuple[nn.Module, Tensor]:
    """784-2048-2048-10 and a batch of 128."""
    model = nn.Sequential(nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10))
    return model, torch.randn(128, 784)


def transformer() -> tuple[nn.Module, Tensor]:
    """The feed-forward blocks of a transformer of width 512: 512-2048-512, six of them, 128 tokens."""
    blocks = [nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 512)) for _ in range(6)]
    return nn.Sequential(*blocks, nn.Linear(512, 10)), torch.randn(128, 512)


def resnet18() -> tuple[nn.Module, Tensor]:
    """ResNet-18 of width 64 on pictures of 32 x 32, a batch of 32."""
    return ww.models.resnet18(width=64), torch.randn(32, 3, 32, 32)


NETS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {"mlp": mlp, "transformer": transformer, "resnet18": resnet18}


def step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    """One step of SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return run


def forward(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """One forward pass without gradients."""

    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def compare(net: str, sparsity: float, rounds: int, count: int) -> None:
    """Print the ratios at one sparsity."""
    torch.manual_seed(0)
    plain, x = NETS[net]()
    y = torch.randint(10, (len(x),))
    masked = copy.deepcopy(plain)
    ww.prune(masked, sparsity, method="random", scope="uniform")
    sparse = sparsify(copy.deepcopy(masked), batch=len(x))
    turns = {"plain": step(plain, x, y), "masked": step(masked, x, y), "sparse": step(sparse, x, y)}
    steps = in_a_row(turns, rounds, count)
    print(f"  {sparsity:6.1%}  step {1e3 * min(steps['sparse']):8.2f} ms", end="")
    print(f"  masked / sparse {ratio(steps['masked'], steps['sparse'])}", end="")
    print(f"  plain / sparse {ratio(steps['plain'], steps['sparse'])}")
    for size in (len(x), 1):
        passes = in_a_row({"dense": forward(plain, x[:size]), "sparse": forward(sparse, x[:size])}, 3 * rounds, count)
        print(f"          forward, batch {size:3d}: {1e3 * min(passes['sparse']):8.3f} ms", end="")
        print(f"  dense / sparse {ratio(passes['dense'], passes['sparse'])}", flush=True)


def in_a_row(contenders: dict[str, Callable[[], object]], rounds: int, count: int) -> dict[str, list[float]]:
    """Seconds of one call, of ``count`` in a row each turn: what trains does not share its caches with a rival."""
    turns = {name: partial(repeated, run, count) for name, run in contenders.items()}
    return {name: [s / count for s in seconds] for name, seconds in interleaved(turns, rounds).items()}


def repeated(run: Callable[[], object], count: int) -> None:
    """So many calls."""
    for _ in range(count):
        run()


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--net", choices=tuple(NETS), default="mlp")
    parser.add_argument("--in-a-row", type=int, default=10, help="calls of one contender before the next has its turn")
    parser.add_argument("--sparsity", type=float, nargs="+", default=SPARSITIES)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    header(f"training a sparse {arguments.net}, {arguments.threads} thread(s)")
    for sparsity in arguments.sparsity:
        compare(arguments.net, sparsity, arguments.rounds, arguments.in_a_row)


if __name__ == "__main__":
    main()
