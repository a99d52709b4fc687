"""Sparse against dense convolutions, interleaved in one process: a layer's forward pass and its whole training step.

Native layout: activations and gradients lie batch last, as between adjacent sparse layers. The dense layer is given
plain contiguous ones and channels-last ones; the ratio is to the faster of the two. A step is forward, backward (input,
weight and bias) and SGD; with one picture it is the forward pass alone, without gradients.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _timing import interleaved, ratio
from torch import Tensor, nn

from widthwise.environment import machine
from widthwise.sparse._processor import vector_bytes
from widthwise.sparse.conv import SparseConv2d

SHAPES = [(128, 16, 32), (256, 8, 32), (512, 4, 32), (128, 16, 128)]  # channels, height and width, batch
SINGLE = [(128, 16, 1), (256, 14, 1)]
SPARSITIES = (0.90, 0.95, 0.98)
CLOCKS = {
    "wall": (time.perf_counter, "by the clock on the wall"),
    "cpu": (time.thread_time, "in time of the processor, since others used the machine too"),
}


def batch_last(x: Tensor) -> Tensor:
    """A copy with strides (1, H W N, W N, N)."""
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def step(layer: nn.Module, x: Tensor, slopes: Tensor) -> Callable[[], None]:
    """One training step of a layer inside a network."""
    optimizer, x = torch.optim.SGD(layer.parameters(), lr=1e-6), x.requires_grad_()

    def run() -> None:
        optimizer.zero_grad()
        x.grad = None
        layer(x).backward(slopes)
        optimizer.step()

    return run


def forward(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """Inference."""

    def run() -> None:
        with torch.no_grad():
            layer(x)

    return run


def contenders(channels: int, size: int, batch: int, sparsities: tuple[float, ...]) -> dict[str, Callable[[], None]]:
    """What is timed for one shape."""
    dense = nn.Conv2d(channels, channels, 3, padding=1)
    x, slopes = torch.randn(2, batch, channels, size, size)
    runs: dict[str, Callable[[], None]] = {}

    def add(name: str, layer: nn.Module, lay: Callable[[Tensor], Tensor]) -> None:
        own = lay(x)
        runs[name] = forward(layer, own) if batch == 1 else step(layer, own.clone(), lay(slopes))

    add("dense", dense, Tensor.contiguous)
    last = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
    add("channels last", last, lambda x: x.to(memory_format=torch.channels_last))
    for sparsity in sparsities:
        layer = SparseConv2d.from_conv2d(dense, torch.rand(dense.weight.shape) >= sparsity)
        layer.batch_last = True
        add(f"{sparsity:.0%}", layer, batch_last)
    return runs


def rows(threads: int, rounds: int, clock: Callable[[], float]) -> list[str]:
    """Lines of the table."""
    torch.set_num_threads(threads)
    lines = []
    for channels, size, batch in SHAPES + SINGLE:
        repeats = rounds if batch > 1 else 10 * rounds
        seconds = interleaved(contenders(channels, size, batch, SPARSITIES), repeats, clock)
        dense = min(seconds["dense"], seconds["channels last"], key=statistics.median)
        milliseconds = [f"{1e3 * statistics.median(seconds[name]):.2f}" for name in ("dense", "channels last")]
        gains = [ratio(dense, seconds[f"{sparsity:.0%}"]) for sparsity in SPARSITIES]
        what = "forward" if batch == 1 else "step"
        cells = [what, f"{channels} @ {size}x{size}", str(batch), str(threads), *milliseconds, *gains]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def page(lines: list[str], command: str, clock: str) -> str:
    """The recorded result."""
    head = ["what", "channels @ pictures", "batch", "threads", "dense, ms", "channels last, ms"]
    titles = [*head, *(f"{sparsity:.0%}" for sparsity in SPARSITIES)]
    known = machine() | {"vector registers": f"{8 * vector_bytes()} bits"}
    facts = [f"- {key}: {value}" for key, value in known.items()]
    return "\n".join([
        "# Sparse convolutions, 3x3", "",
        f"`{command}`", "",
        "How many times as fast as the faster of two dense layouts, median (smallest to largest) of the rounds,",
        f"interleaved in one process, {CLOCKS[clock][1]}.",
        "Activations lie as adjacent sparse layers hand them on. A step is forward, backward and SGD.", "",
        f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}", *lines, "", *facts, "",
    ])  # fmt: skip


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each shape")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu is for one thread on a busy machine")
    parser.add_argument("--out", type=Path, help="page to write")
    options = parser.parse_args()
    torch.manual_seed(0)
    clock = CLOCKS[options.clock][0]
    lines = [line for threads in options.threads for line in rows(threads, options.rounds, clock)]
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page(lines, " ".join(["python", *sys.argv]), options.clock))


if __name__ == "__main__":
    main()
