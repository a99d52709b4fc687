"""Memory of what is long or large: each line is measured in a process of its own.

    python benchmarks/bench_long_and_large.py [--steps 100000] [--weights 100000000] [--entries 1000000000]
    python benchmarks/bench_long_and_large.py --only loops --like native

`loops`: resident memory after a tenth of the steps and at the end. `prune`: most resident memory while a model is
pruned, beyond what model and batch take, in bytes a weight. `mask`: of a mask file, time and memory of what is asked.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import widthwise as ww
from widthwise.training import Family, TrainConfig, objective_for, train
from widthwise.training.sparse_family import SparseFamily
from widthwise.training.sparse_loop import train_sparse

PAGE = resource.getpagesize()
MB = 2**20
Loop = Callable[[int], None]


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Peak:
    """The most memory a process has while something runs, beyond what it had before; the clock and the bytes."""

    def __enter__(self) -> Peak:
        self.before = self.most = resident()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        self._began = time.perf_counter()
        return self

    def _look(self) -> None:
        while not self._ended.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._began
        self._ended.set()
        self._watch.join()
        self.more = max(self.most, resident()) - self.before


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives in a fresh process."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_send, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        return mine.recv()
    finally:
        process.join()


def _send(line: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    line.send(work(*arguments))


def network(width: int = 32) -> nn.Sequential:
    """Of 20 inputs and 4 outputs."""
    return nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, 4))


def optimizer_steps(native: bool, adam: bool) -> Loop:
    """Steps of a sparse model, native or masked."""
    model = network()
    ww.prune(model, 0.9, "random")
    if native:
        model[0] = ww.sparse.SparseLinear(model[0].weight.detach(), model[0].bias.detach())
    made = torch.optim.Adam(model.parameters()) if adam else torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    x, y = torch.randn(64, 20), torch.randint(4, (64,))

    def steps(count: int) -> None:
        for _ in range(count):
            made.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            made.step()

    return steps


def family_steps(native: bool) -> Loop:
    """Steps of four networks at once."""
    models = [network() for _ in range(4)]
    masks = [{n: torch.rand_like(p) < 0.8 for n, p in m.named_parameters() if p.dim() > 1} for m in models]
    x, y = torch.randn(640, 20), torch.randint(4, (640,))
    sparse, dense = SparseFamily(models, masks), Family(models, masks)

    def steps(count: int) -> None:
        config = TrainConfig(epochs=max(1, count // 10), batch_size=64, lr=0.01)
        if native:
            train_sparse(sparse, (x, y), config, seed=0)
        else:
            train(dense, (x, y), config, objective_for("classification"), seeds=[0, 1, 2, 3])

    return steps


def prune_cycles() -> Loop:
    """Prune, sparsify, take a step, densify; a step counts as a hundred, being a hundred times as long."""
    x, y = torch.randn(16, 20), torch.randint(4, (16,))

    def cycles(count: int) -> None:
        for i in range(max(1, count // 100)):
            model = network()
            ww.prune(model, 0.9, "snip", (x, y), functional.cross_entropy, seed=i)
            sparse = ww.sparsify(model)
            functional.cross_entropy(sparse(x), y).backward()
            ww.densify(sparse)

    return cycles


LOOPS: dict[str, tuple[Callable[..., Loop], tuple[Any, ...]]] = {
    "native, SGD": (optimizer_steps, (True, False)),
    "native, Adam": (optimizer_steps, (True, True)),
    "masked, SGD": (optimizer_steps, (False, False)),
    "masked, Adam": (optimizer_steps, (False, True)),
    "family, native": (family_steps, (True,)),
    "family, masked": (family_steps, (False,)),
    "prune, sparsify, densify": (prune_cycles, ()),
}


def loop(name: str, steps: int) -> tuple[float, float, float]:
    """Resident megabytes after a tenth of the steps and after all, and Python's own growth between, in kilobytes."""
    make, arguments = LOOPS[name]
    run = make(*arguments)
    run(steps // 10)
    early = resident()
    run(steps - steps // 10 - steps // 20)
    tracemalloc.start()
    run(steps // 40)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    run(steps // 40)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    return early / MB, resident() / MB, grown / 1024


def prune(method: str, weights: int) -> tuple[float, float, int]:
    """Bytes a weight that pruning takes at most beyond the model, seconds, weights kept."""
    width = int((weights / 4) ** 0.5)
    model = nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(4)])
    data = torch.randn(4, width), torch.randint(width, (4,))
    given = (data, functional.cross_entropy) if method not in ("random", "magnitude") else ()
    rounds = 2 if method == "synflow" else None
    with Peak() as peak:
        mask = ww.prune(model, 0.99, method, *given, rounds=rounds)
    return peak.more / (4 * width * width), peak.seconds, mask.kept


def write_mask(path: str, entries: int) -> None:
    """A mask file of that many entries in ten layers, written without ever holding it whole."""
    from widthwise._tensorfile import write_tensors

    rows = 1000
    columns = entries // 10 // rows
    bits = np.random.default_rng(0).integers(0, 256, -(-rows * columns // 8), dtype=np.uint8)
    bits[-1] &= (1 << (rows * columns % 8 or 8)) - 1
    packed = torch.from_numpy(bits)
    shapes = {f"layer{i}": [rows, columns] for i in range(10)}
    write_tensors(path, "widthwise.mask", 1, {"shapes": shapes}, dict.fromkeys(shapes, packed))


def ask_mask(path: str, what: str) -> tuple[float, float, str]:
    """Megabytes beyond those before, seconds, and what came of it."""
    with Peak() as peak:
        mask = ww.Mask.load(path)
        found: Any = {
            "open": lambda: len(mask),
            "one layer": lambda: int(mask["layer3"].count_nonzero()),
            "count": lambda: mask.kept,
            "report": lambda: len(mask.report().splitlines()),
        }[what]()
    return peak.more / MB, peak.seconds, f"{found}"


METHODS = ("random", "magnitude", "snip", "synflow")
QUESTIONS = ("open", "one layer", "count", "report")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--weights", type=int, default=10**8)
    parser.add_argument("--entries", type=int, default=10**9)
    parser.add_argument("--only", choices=("loops", "prune", "mask"))
    parser.add_argument("--like", default="", help="only loops and methods with this in their names")
    given = parser.parse_args()
    if given.only in (None, "loops"):
        for name in filter(lambda name: given.like in name, LOOPS):
            early, late, python = apart(loop, name, given.steps)
            print(
                f"loop {name:26} {given.steps} steps: {early:.1f} MB, then {late:.1f} MB; Python {python:+.1f} kB",
                flush=True,
            )
    if given.only in (None, "prune"):
        for method in filter(lambda name: given.like in name, METHODS):
            each, seconds, kept = apart(prune, method, given.weights)
            print(
                f"prune {method:10} {given.weights:.0e}: {each:.1f} bytes a weight, {seconds:.0f} s, kept {kept}",
                flush=True,
            )
    if given.only in (None, "mask"):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "mask.safetensors")
            write_mask(path, given.entries)
            size = Path(path).stat().st_size / MB
            for what in QUESTIONS:
                more, seconds, found = apart(ask_mask, path, what)
                print(
                    f"mask {what:10} {given.entries:.0e}, file {size:.0f} MB: {more:.1f} MB, {seconds:.2f} s, {found}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
