"""Time and peak memory of pruning scores, in multiples of one forward and backward pass on the same batch.

The network is ResNet50 for small images with doubled filters (3.0 million weights), in training mode. Every contender
runs in turn, many times; memory is what the peak of a fresh process rises by, one process a contender (Linux only).
SynFlow sees one example of ones, in double precision: its yardsticks are passes on the batch and on that one example.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from _timing import header, interleaved, ratio
from torch.nn import functional

from widthwise.models import resnet50
from widthwise.pruning.scores import grasp, snip, synflow

ONE = "forward + backward, one example"
PASS = "forward + backward"


def contenders(batch: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    torch.manual_seed(0)
    model = resnet50(width=2)
    data = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    one = torch.ones(1, 3, 32, 32), torch.zeros(1, dtype=torch.long)

    def forward_backward(pair: tuple[torch.Tensor, torch.Tensor]) -> object:
        model.zero_grad()
        functional.cross_entropy(model(pair[0]), pair[1]).backward()

    return {
        PASS: lambda: forward_backward(data),
        ONE: lambda: forward_backward(one),
        "SNIP": lambda: snip(model, data, functional.cross_entropy),
        "SynFlow, one round": lambda: synflow(model, data),
        "GraSP": lambda: grasp(model, data, functional.cross_entropy),
        "GraSP, forward over reverse": lambda: grasp(
            model, data, functional.cross_entropy, route="forward_over_reverse"
        ),
    }


def peak(name: str, batch: int, threads: int) -> float:
    """MiB by which a fresh process that runs one contender rises."""
    command = [sys.executable, __file__, "--batch", str(batch), "--threads", str(threads), "--only", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rise(run: Callable[[], object]) -> float:
    """MiB by which this process's peak rises while ``run`` runs."""
    before = high_water()
    run()
    return (high_water() - before) / 1024


def high_water() -> int:
    """Peak resident memory of this process so far, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) if found else 0


def main() -> None:
    """Time, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", help="run one contender and print its memory in MiB")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runs = contenders(options.batch)
    if options.only:
        print(rise(runs[options.only]))
        return
    header(
        f"pruning scores on ResNet50 with doubled filters, batch {options.batch}, against a forward and backward pass"
    )
    seconds = interleaved(runs, options.rounds)
    memory = {name: peak(name, options.batch, options.threads) for name in runs}
    for name in runs:
        against = f"{ratio(seconds[name], seconds[PASS])} the time"
        if name.startswith("SynFlow"):
            against += f", {ratio(seconds[name], seconds[ONE])} that of one example"
        middle = statistics.median(seconds[name])
        print(
            f"{name}: {middle:.3f} s, {against}, {memory[name]:.0f} MiB, {memory[name] / memory[PASS]:.2f}x the memory"
        )


if __name__ == "__main__":
    main()
