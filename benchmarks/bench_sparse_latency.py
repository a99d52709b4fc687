"""One example at a time, and four: sparse layers and whole networks against every way to run them.

Two regimes. *In a row*, as a server answers: each contender answers some examples one after the other before the next
has its turn, and keeps in the caches what fits there. *In turn*: each answers one, after all others have emptied the
caches, which charges everybody for fetching weights and code anew. Every contender's result is checked first.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from _timing import interleaved
from bench_sparse_peers import check, forward_contenders, layers, set_threads, versions
from torch import nn

from widthwise.environment import machine
from widthwise.sparse import sparsify, to_onnx
from widthwise.sparse.measure import random_mask

OURS = "widthwise"
SPARSITIES = (0.9, 0.95, 0.98, 0.99)
NETWORKS = {
    "MLP 784-2048-2048-10": (784, lambda: mlp(784, 2048, 2048, 10)),
    "transformer block 512-2048-512": (512, lambda: mlp(512, 2048, 512, activation=nn.GELU)),
}


def mlp(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*parts[:-1])


def network_contenders(name: str, sparsity: float, batch: int) -> dict[str, Callable[[], Any]]:
    """A whole network, dense and sparse, and the dense one in ONNX Runtime."""
    features, build = NETWORKS[name]
    dense = build().eval()
    mask = random_mask(dense, sparsity, seed=0).apply(dense)
    ours = sparsify(copy.deepcopy(dense), mask, policy="always")
    x = torch.randn(batch, features)
    runs: dict[str, Callable[[], Any]] = {OURS: lambda: ours(x), "dense": lambda: dense(x)}
    if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        runs["ONNX Runtime"] = session(ours, x)
    return runs


def session(model: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    """The dense network in ONNX Runtime, on as many threads as PyTorch."""
    runtime = import_module("onnxruntime")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
        path = Path(folder) / "model.onnx"
        to_onnx(model, path, x)
        answers = runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    given, array = answers.get_inputs()[0].name, x.numpy()
    return lambda: answers.run(None, {given: array})[0]


def compared(runs: dict[str, Callable[[], Any]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each contender in both regimes: microseconds of one answer, and how many times as fast as dense it is."""
    check(runs)
    found = []
    for regime, count, rounds in (("in a row", options.row, options.rounds), ("in turn", 1, 2 * options.rounds)):

        def repeated(run: Callable[[], Any], count: int = count) -> Callable[[], None]:
            def several() -> None:
                for _ in range(count):
                    run()

            return several

        taken = interleaved({name: repeated(run) for name, run in runs.items()}, rounds)
        for name, seconds in taken.items():
            ratios = [a / b for a, b in zip(taken["dense"], seconds, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            micro = 1e6 * statistics.median(seconds) / count
            row = {"regime": regime, "contender": name, "microseconds": micro}
            found.append(row | {"ratio": middle, "low": low, "high": high})
    return found


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All layers and networks."""
    rows = []
    for threads in options.threads:
        set_threads(threads)
        for sparsity in options.sparsities:
            for batch in options.batches:
                for size in options.sizes:
                    dense, ours, _ = layers(size, sparsity)
                    runs = forward_contenders(dense, ours, torch.randn(batch, size))
                    key = {"what": f"Linear {size}", "batch": batch, "threads": threads, "sparsity": sparsity}
                    rows += [key | row for row in compared(runs, options)]
                for name in NETWORKS:
                    runs = network_contenders(name, sparsity, batch)
                    key = {"what": name, "batch": batch, "threads": threads, "sparsity": sparsity}
                    rows += [key | row for row in compared(runs, options)]
    return rows


def table(rows: list[dict[str, Any]], regime: str, options: argparse.Namespace) -> str:
    """Markdown: microseconds, and how many times as fast as dense with quartiles."""
    head = ["what", "batch", "threads", "contender", *(f"{s:.0%}" for s in options.sparsities)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    groups: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        if row["regime"] == regime:
            key = tuple(row[field] for field in ("what", "batch", "threads", "contender"))
            ratio = f": {row['ratio']:.2g}x ({row['low']:.2g}-{row['high']:.2g})" if row["contender"] != "dense" else ""
            groups.setdefault(key, []).append(f"{row['microseconds']:.0f}{ratio}")
    ordered = sorted(groups.items(), key=lambda item: item[0][:3])
    return "\n".join([*lines, *(f"| {' | '.join(map(str, key))} | {' | '.join(cells)} |" for key, cells in ordered)])


def page(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """What was measured, on what, and the tables, in Markdown."""
    made_with = ", ".join(f"{key} {value}" for key, value in (machine() | versions()).items() if key != "threads")
    threads, batches = (" ".join(map(str, part)) for part in (options.threads, options.batches))
    return f"""# One example at a time

`python benchmarks/bench_sparse_latency.py --threads {threads} --batches {batches} --rounds {options.rounds}`

Inference without gradients, random masks, float32: microseconds of one call, and how many times as fast as PyTorch's
dense layer or network (medians over rounds, with quartiles). SciPy runs on one thread always.

{made_with}.

## In a row

Each makes {options.row} calls in a row before the next has its turn ({options.rounds} rounds): weights and code stay
in the caches as far as they fit, as they do in a server that answers one request after the other.

{table(rows, "in a row", options)}

## In turn

One call each in turn ({2 * options.rounds} rounds): between two calls of a contender the others, dense ones among them,
have gone through all caches, so that every call fetches its weights and its code from memory.

{table(rows, "in turn", options)}
"""


@torch.no_grad()
def main() -> None:
    """Measure all, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--row", type=int, default=20, help="calls in a row")
    parser.add_argument("--out", type=Path, help="folder for latency.json and latency.md")
    options = parser.parse_args()
    rows = measured(options)
    text = page(rows, options)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        held = {"machine": machine(), "versions": versions(), "rows": rows}
        (options.out / "latency.json").write_text(json.dumps(held, indent=1) + "\n")
        (options.out / "latency.md").write_text(text)


if __name__ == "__main__":
    main()
