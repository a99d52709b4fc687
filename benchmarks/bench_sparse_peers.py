"""A sparse linear layer against every way to run it: all in turn, in one process, on one thread and on two.

Against dense PyTorch, the same with a mask in force, PyTorch's CSR, SciPy's CSR, ONNX Runtime (dense) and SparseProp,
the last two where they can be imported; SparseProp is built from its sources with any C++ compiler and found by
PYTHONPATH. Layers are square. All take and give plain (batch, features) tensors. Every contender's result is checked
against the dense one's first.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from widthwise.environment import machine
from widthwise.sparse import SparseLinear
from widthwise.sparse.measure import Speed, break_even, interleaved, random_mask

Run = Callable[[], object]

OURS = "widthwise"
SPARSITIES = (0.8, 0.9, 0.95, 0.98, 0.99)


def layers(size: int, sparsity: float) -> tuple[nn.Linear, SparseLinear, Tensor]:
    """A masked dense layer, the sparse one, and the mask."""
    dense = nn.Linear(size, size)
    mask = random_mask(dense, sparsity, seed=0).apply(dense)
    return dense, SparseLinear.from_linear(dense, mask["weight"]), mask["weight"]


def forward_contenders(dense: nn.Linear, ours: SparseLinear, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Inference with each."""
    weight, bias = dense.weight.detach(), dense.bias.detach()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that CSR is a beta
        csr, column = weight.to_sparse_csr(), bias[:, None]
    scipy_csr = import_module("scipy.sparse").csr_matrix(weight.numpy())
    array, shift = x.numpy(), bias.numpy()
    runs: dict[str, Callable[[], Any]] = {
        OURS: lambda: ours(x),
        "dense": lambda: dense(x),
        "torch CSR": lambda: (csr @ x.t() + column).t(),
        "SciPy CSR": lambda: (scipy_csr @ array.T).T + shift,
    }
    if find_spec("onnxruntime") and find_spec("onnx"):
        runs["ONNX Runtime"] = onnx_session(weight, bias, array)
    if (peer := sparseprop(dense)) is not None:
        runs["SparseProp"] = lambda: peer(x)
    return runs


def onnx_session(weight: Tensor, bias: Tensor, array: Any) -> Callable[[], Any]:
    """The dense layer in ONNX Runtime, on as many threads as PyTorch."""
    onnx, runtime = import_module("onnx"), import_module("onnxruntime")
    helper = onnx.helper
    numbers = [onnx.numpy_helper.from_array(t.numpy(), name) for t, name in ((weight, "w"), (bias, "b"))]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", len(bias)]) for name in ("y", "x")]
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    graph = helper.make_graph([node], "layer", ends[1:], ends[:1], numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": array})[0]


def sparseprop(dense: nn.Linear) -> nn.Module | None:
    """The layer of SparseProp, where it is."""
    if not find_spec("sparseprop"):
        return None
    peer: nn.Module = import_module("sparseprop.modules").SparseLinear.from_dense(dense)
    return peer


def step_contenders(dense: nn.Linear, ours: SparseLinear, mask: Tensor, x: Tensor) -> dict[str, Run]:
    """Forward and backward with each, gradients of the input, the weights and the bias."""
    x, slope = x.clone().requires_grad_(), torch.randn(len(x), dense.out_features)
    models: dict[str, nn.Module] = {OURS: ours, "dense": dense, "masked dense": Masked(dense, mask)}
    if (peer := sparseprop(dense)) is not None:
        models["SparseProp"] = peer

    def step(model: nn.Module) -> Run:
        def run() -> None:
            model.zero_grad()
            x.grad = None
            model(x).backward(slope)

        return run

    return {name: step(model) for name, model in models.items()}


class Masked(nn.Module):
    """Dense, the weight times its mask in every forward pass, as masked training is mostly written."""

    def __init__(self, dense: nn.Linear, mask: Tensor):
        super().__init__()
        self.dense, self.mask = dense, mask.float()

    def forward(self, x: Tensor) -> Tensor:
        """The layer with its weight masked."""
        return nn.functional.linear(x, self.dense.weight * self.mask, self.dense.bias)


def check(runs: dict[str, Callable[[], Any]]) -> None:
    """Raise if a contender computes something else."""
    expected = runs["dense"]()
    for name, run in runs.items():
        torch.testing.assert_close(
            torch.as_tensor(run()), expected, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def compared(built: tuple[nn.Linear, SparseLinear, Tensor], sparsity: float, options: Any) -> list[dict[str, Any]]:
    """Every contender's times for one layer and sparsity, inference at batch 128 and 1 and a training step."""
    rows = []
    size = built[0].in_features
    for work, batch in (("forward", 128), ("forward", 1), ("step", 128)):
        x = torch.randn(batch, size)
        if work == "forward":
            with torch.no_grad():
                runs = forward_contenders(*built[:2], x)
                check(runs)
                taken = interleaved(runs, options.rounds, options.seconds)
        else:
            taken = interleaved(step_contenders(*built, x), options.rounds, options.seconds)
        rows += [row(work, size, batch, sparsity, name, taken) for name in taken]
    return rows


def set_threads(threads: int) -> None:
    """For PyTorch, and for SparseProp, which links an OpenMP of its own."""
    torch.set_num_threads(threads)
    if find_spec("sparseprop"):
        ctypes.CDLL("libgomp.so.1").omp_set_num_threads(threads)


def row(work: str, size: int, batch: int, sparsity: float, name: str, taken: dict[str, list[float]]) -> dict[str, Any]:
    """One contender: its median, and how many times as fast as dense it is."""
    ratios = [dense / own for dense, own in zip(taken["dense"], taken[name], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if name != "dense" else (1.0, 1.0, 1.0)
    return {
        "threads": torch.get_num_threads(), "work": work, "size": size, "batch": batch, "sparsity": sparsity,
        "contender": name, "seconds": statistics.median(taken[name]), "ratio": middle, "low": low, "high": high,
        "rounds": len(ratios),
    }  # fmt: skip


def limits(size: int, batch: int, options: argparse.Namespace) -> list[str]:
    """From which sparsity on ours is faster than dense: measured around it."""
    lines = []
    x = torch.randn(batch, size)
    for work in ("forward", "step"):
        speeds = []
        for sparsity in (0.3, 0.4, 0.5, 0.6, 0.7):
            dense, ours, mask = layers(size, sparsity)
            runs: dict[str, Run] = {OURS: lambda ours=ours: ours(x), "dense": lambda dense=dense: dense(x)}
            if work == "step":
                both = step_contenders(dense, ours, mask, x)
                runs = {name: both[name] for name in (OURS, "dense")}
            with torch.set_grad_enabled(work == "step"):
                taken = interleaved(runs, options.rounds, options.seconds)
            a, b = (statistics.median(taken[name]) for name in ("dense", OURS))
            speeds.append(Speed(str(size), work, sparsity, a, b, a / b, a / b, a / b, options.rounds))
        limit = break_even(speeds)
        found = "never" if limit is None else f"{limit:.0%}"
        lines.append(f"| {torch.get_num_threads()} | {work} | {size} | {batch} | {found} |")
    return lines


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Markdown: how many times as fast as dense, medians and quartiles."""
    head = ["threads", "work", "n", "batch", "contender", *(f"{s:.0%}" for s in options.sparsities)]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    groups: dict[tuple[Any, ...], list[str]] = {}
    for one in rows:
        if one["contender"] != "dense":
            key = tuple(one[field] for field in ("threads", "work", "size", "batch", "contender"))
            groups.setdefault(key, []).append(f"{one['ratio']:.2g} ({one['low']:.2g}-{one['high']:.2g})")
    lines += [f"| {' | '.join(map(str, key))} | {' | '.join(cells)} |" for key, cells in groups.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--sparsities", type=float, nargs="*", default=SPARSITIES, help="none: the break-even alone")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="a comparison ends after this long, and three rounds"
    )
    parser.add_argument("--limits", action=argparse.BooleanOptionalAction, default=True, help="find the break-even too")
    parser.add_argument("--out", type=Path, help="folder for linear.json and linear.md")
    options = parser.parse_args()
    began, rows, limit_lines = time.perf_counter(), [], []
    for size in options.sizes:
        for sparsity in options.sparsities:
            built = layers(size, sparsity)
            for threads in options.threads:
                set_threads(threads)
                rows += compared(built, sparsity, options)
            print(f"{time.perf_counter() - began:4.0f} s: n = {size}, sparsity {sparsity}", flush=True)
    for threads in options.threads if options.limits else ():
        set_threads(threads)
        limit_lines += [line for size in options.sizes for line in limits(size, 128, options)]
    rows.sort(key=lambda one: (one["threads"], one["work"], one["size"], -one["batch"]))
    text = page(rows, limit_lines, options)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        held = {"machine": machine(), "versions": versions(), "break_even": limit_lines, "rows": rows}
        (options.out / "linear.json").write_text(json.dumps(held, indent=1) + "\n")
        (options.out / "linear.md").write_text(text)


def page(rows: list[dict[str, Any]], limit_lines: list[str], options: argparse.Namespace) -> str:
    """What was measured, on what, and the tables, in Markdown."""
    made_with = ", ".join(f"{key} {value}" for key, value in (machine() | versions()).items() if key != "threads")
    head = "| threads | work | n | batch | break-even sparsity |\n| --- | --- | --- | --- | --- |\n"
    return f"""# A sparse linear layer against its peers

`python benchmarks/bench_sparse_peers.py --out docs/results/sparse`

Square layers of n inputs and outputs with random masks, float32. How many times as fast as PyTorch's dense layer:
medians over rounds in which all contenders run in turn in one process, with quartiles. Forward is without gradients;
a step is forward and backward, with the gradients of the input, the weights and the bias. Plain tensors go in and out.
SciPy runs on one thread always. Up to {options.rounds} rounds, or {options.seconds} s.

{made_with}.

{table(rows, options)}
## Break-even against dense

{head}{chr(10).join(limit_lines)}
"""


def versions() -> dict[str, str]:
    """Of the peers, where they say."""
    return {
        name: str(getattr(import_module(name), "__version__", "from sources"))
        for name in ("scipy", "onnxruntime", "sparseprop")
        if find_spec(name)
    }


if __name__ == "__main__":
    main()
