"""Peak memory of training a 95 % sparse network: native, against the same network masked.

Each variant runs in a process of its own. What counts is the peak of that process in training over what it held with
everything imported and warm, but no network yet: steps of a tiny network of the same kind have been taken, so that
compiled code and the libraries' own buffers count for neither, and memory that is free has been given back. Making the
network, which starts from the dense one, has a peak of its own, given beside.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from widthwise import sparse
from widthwise.environment import machine
from widthwise.sparse.count import count
from widthwise.sparse.measure import random_mask

STATES = {"SGD": 0, "Adam": 2}
BATCH, STEPS = 128, 5


def resident(what: str) -> int:
    """Bytes of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {what}")


def settled() -> int:
    """Give back what is free, let the peak start anew, and say what is left."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def network(width: int, kind: str, sparsity: float) -> nn.Module:
    """The MLP, masked, or with the weights alone that live."""
    first, second, last = nn.Linear(784, width), nn.Linear(width, width), nn.Linear(width, 10)
    model = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), last)
    mask = random_mask(model, sparsity, seed=0).apply(model)
    return sparse.sparsify(model, mask, policy="always") if kind == "sparse" else model


def train(model: nn.Module, optimizer: str, steps: int) -> None:
    """A few steps on random examples."""
    kinds = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}
    step = kinds[optimizer](model.parameters(), lr=1e-3)
    x, y = torch.randn(BATCH, 784), torch.randint(0, 10, (BATCH,))
    for _ in range(steps):
        step.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        step.step()


def one(kind: str, optimizer: str, options: argparse.Namespace) -> None:
    """Print the peak over the bare start, as JSON; what a process of its own runs."""
    torch.set_num_threads(1)
    train(network(16, kind, 0.5), optimizer, 2)
    bare = settled()
    model = network(options.width, kind, options.sparsity)
    made = resident("VmHWM")
    settled()
    train(model, optimizer, STEPS)
    found = {"making": made - bare, "training": resident("VmHWM") - bare}
    print(json.dumps(found | {"counted": count(model, states=STATES[optimizer]).total.memory}))


def apart(kind: str, optimizer: str, options: argparse.Namespace) -> dict[str, int]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--one", kind, optimizer]
    command += ["--width", str(options.width), "--sparsity", str(options.sparsity)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(printed))


def main() -> None:
    """Measure each variant several times, in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "OPTIMIZER"), help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--sparsity", type=float, default=0.95)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for memory.json and memory.md")
    options = parser.parse_args()
    if options.one:
        one(*options.one, options)
        return
    rows = [row for optimizer in STATES for row in compared(optimizer, options)]
    text = page(rows, options)
    print(text)
    if options.out:
        held = {"machine": machine(), "width": options.width, "sparsity": options.sparsity, "rows": rows}
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "memory.json").write_text(json.dumps(held, indent=1) + "\n")
        (options.out / "memory.md").write_text(text)


def page(rows: list[dict[str, object]], options: argparse.Namespace) -> str:
    """What was measured, on what, and the table, in Markdown."""
    made_with = ", ".join(f"{key} {value}" for key, value in machine().items() if key != "threads")
    return f"""# Memory of training a sparse network

`python benchmarks/bench_sparse_memory.py --rounds {options.rounds} --out docs/results/sparse`

MLP 784-{options.width}-{options.width}-10, batch {BATCH}, sparsity {options.sparsity}, one thread, megabytes: the same
network with a mask in force, and sparse. The peak in training is that of a fresh process over what it holds before the
network is made, everything imported and warm. Counted are weights, gradients, the optimizer's state, masks and indices;
the rest of the peak is activations, and what the libraries keep. Making the network starts from the dense one.
Runs of each: {options.rounds}; medians.

{made_with}.

{table(rows)}"""


def compared(optimizer: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Masked and sparse under one optimizer: medians of the rounds, and every round's."""
    runs: dict[str, list[dict[str, int]]] = {"masked": [], "sparse": []}
    for _ in range(options.rounds):
        for kind, found in runs.items():
            found.append(apart(kind, optimizer, options))
    rows: list[dict[str, object]] = []
    for kind, found in runs.items():
        row: dict[str, object] = {"network": kind, "optimizer": optimizer}
        row |= {key: statistics.median(run[key] for run in found) for key in found[0]}
        rows.append(row | {"rounds": [run["training"] for run in found]})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: megabytes, and the sparse network's fraction of the masked one's."""
    lines = ["| optimizer | | masked | sparse | masked / sparse |", "| --- | --- | --- | --- | --- |"]
    for optimizer in STATES:
        masked, sparse_row = (row for row in rows if row["optimizer"] == optimizer)
        for key, what in (
            ("training", "peak in training"), ("counted", "counted"), ("making", "peak in making the network"),
        ):  # fmt: skip
            a, b = float(str(masked[key])), float(str(sparse_row[key]))
            lines.append(f"| {optimizer} | {what} | {a / 1e6:.1f} | {b / 1e6:.1f} | {a / b:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
