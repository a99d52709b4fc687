"""How long a list and a report of many stored runs take, start of the program included.

python benchmarks/bench_report.py --runs 10000 --repeat 5
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from widthwise.store import Store


@dataclass(frozen=True)
class Run:
    """A config of a usual size."""

    method: str
    width: int
    depth: int
    lr: float
    seed: int
    data: str = "digits"
    epochs: int = 50


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store, page = Path(name) / "runs.sqlite", Path(name) / "report.html"
        fill(store, options.runs)
        for what, arguments in (("list", ["--list"]), ("report", ["-o", str(page)])):
            times = [seconds(["report", str(store), *arguments]) for _ in range(options.repeat)]
            spread = f"({min(times):.2f} to {max(times):.2f})"
            print(f"{what} of {options.runs:,} runs: {statistics.median(times):.2f} s {spread}")
        print(f"the page: {page.stat().st_size / 2**20:.1f} MiB")


def fill(path: Path, count: int) -> None:
    """Store so many runs."""
    draw = random.Random(0)
    runs = []
    for seed in range(count):
        width, lr = draw.choice([8, 16, 32, 64, 128, 256]), draw.choice([0.01, 0.03, 0.1, 0.3])
        config = Run(draw.choice(["dense", "sparse", "snip"]), width, draw.choice([1, 2, 3]), lr, seed)
        accuracy = 0.6 + 0.03 * width**0.3 + 0.05 * (lr > 0.02) + draw.gauss(0, 0.03)
        runs.append((config, {"accuracy": accuracy, "loss": 1 - accuracy, "seconds": draw.random()}))
    with Store(path) as store:
        store.put("sweep", runs)


def seconds(arguments: list[str]) -> float:
    """Wall time of a command of ours."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "widthwise", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
