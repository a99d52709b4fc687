"""Kernels of infinite width: time of widthwise, of neural-tangents where it can be imported, and of plain PyTorch.

All contenders run in turn in one process pinned to one core; ratios are to widthwise, with their spread over rounds,
and largest differences between results are printed. Plain PyTorch is the textbook's recursion on whole matrices.

    python benchmarks/bench_kernels.py --part dense            # NNGP and NTK, d = 784, n = 4000, ReLU, depth 1 and 5
    python benchmarks/bench_kernels.py --part gap --images 32  # CNN of 10 layers with global average pooling
    python benchmarks/bench_kernels.py --part tanh             # an activation without a closed form, n = 500
    python benchmarks/bench_kernels.py --part memory           # peak memory of a matrix streamed to a file, n = 20 000
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import torch  # after the number of threads is set
from _timing import header, interleaved, ratio

from widthwise.environment import machine
from widthwise.kernels import MLP, Conv, Dense, GlobalAvgPool, Network

try:
    import jax
    import neural_tangents
    from neural_tangents import stax
except ImportError as error:
    stax, WHY = None, str(error)

SIGMA_W = 2**0.5
PAUSE = 0.3
"""Seconds; the threads of JAX have work for a while after its result is there."""
TOUCH = 1 << 28
"""Bytes; more than any contender's results."""
Contenders = dict[str, Callable[[], Any]]


def peer(layers: list[Any], x: torch.Tensor) -> Callable[[], Any]:
    """neural-tangents' compiled kernel of the same data."""
    _, _, kernel = stax.serial(*layers)
    compiled = jax.jit(lambda a: tuple(kernel(a, None, ("nngp", "ntk"))))
    data = jax.numpy.asarray(x.numpy())
    return lambda: jax.block_until_ready(compiled(data))


def plain(x: torch.Tensor, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ReLU perceptron by whole matrices."""
    K = SIGMA_W**2 * x @ x.mT / x.shape[1]
    T = K.clone()
    for _ in range(depth):
        r = K.diagonal().sqrt()
        scale = torch.outer(r, r)
        theta = torch.acos((K / scale).clamp(-1, 1))
        opening = (math.pi - theta) / math.pi
        K = SIGMA_W**2 * scale * (torch.sin(theta) / math.pi + opening * torch.cos(theta)) / 2
        T = K + SIGMA_W**2 * T * opening / 2
    return K, T


def dense(depth: int) -> Contenders:
    """NNGP and NTK of a ReLU perceptron."""
    x = torch.randn(4000, 784)
    network = MLP(depth, "relu", SIGMA_W)
    found: Contenders = {"widthwise": lambda: network.kernels(x), "plain PyTorch": lambda: plain(x, depth)}
    if stax:
        hidden = [stax.Dense(1, W_std=SIGMA_W), stax.Relu()] * depth
        found["neural-tangents"] = peer([*hidden, stax.Dense(1, W_std=SIGMA_W)], x)
    return found


def gap(images: int) -> Contenders:
    """NNGP and NTK of a convolutional network of ten layers with global average pooling."""
    x = torch.randn(images, 3, 16, 16)
    network = Network(*[Conv(sigma_w=SIGMA_W, padding="circular"), "relu"] * 10, GlobalAvgPool(), Dense())
    found: Contenders = {"widthwise": lambda: network.kernels(x)}
    if stax:
        hidden = [stax.Conv(1, (3, 3), padding="CIRCULAR", W_std=SIGMA_W), stax.Relu()] * 10
        last = [stax.GlobalAvgPool(), stax.Dense(1, W_std=1.0)]
        found["neural-tangents"] = peer([*hidden, *last], x.permute(0, 2, 3, 1).contiguous())
    return found


def tanh(inputs: int) -> Contenders:
    """NNGP and NTK of a tanh perceptron of one hidden layer, inputs of different lengths."""
    x = torch.randn(inputs, 100)
    network = MLP(1, "tanh", SIGMA_W)
    found: Contenders = {"widthwise": lambda: network.kernels(x)}
    if stax:
        phi = stax.ElementwiseNumerical(fn=jax.numpy.tanh, deg=25)
        found["neural-tangents, quadrature of degree 25"] = peer(
            [stax.Dense(1, W_std=SIGMA_W), phi, stax.Dense(1, W_std=SIGMA_W)], x
        )
    return found


def compare(title: str, contenders: Contenders, rounds: int) -> dict[str, Any]:
    """Time the contenders in turn, print and return what was found."""
    ours = [kernel.double() for kernel in contenders["widthwise"]()]
    seconds = interleaved(contenders, rounds, pause=PAUSE, touch=TOUCH)
    print(f"\n{title}")
    rows = []
    for name, times in seconds.items():
        theirs = [torch.tensor(kernel.tolist(), dtype=torch.float64) for kernel in contenders[name]()]
        apart = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(ours, theirs, strict=True))
        median, faster = statistics.median(times), ratio(times, seconds["widthwise"])
        print(f"  {name:42} {median:9.3f} s   {faster:24} differs by {apart:.0e} of the largest entry")
        rows.append({"name": name, "seconds": times, "ratio": faster, "apart": apart})
    return {"title": title, "contenders": rows}


def memory(n: int, folder: Path | None) -> dict[str, Any]:
    """Peaks of the process's own memory and of what it has mapped of the file, while a Gram matrix streams to it."""
    x = torch.randn(n, 784)
    before = _resident()
    began, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=folder or ".") as here, _peaks() as peaks:
        path = MLP(1, "relu", SIGMA_W).save(Path(here) / "ntk.npy", x, watch=_told)
        size = path.stat().st_size / 2**30
    spent, used = time.perf_counter() - began, time.process_time() - used
    print(
        f"\nNTK of {n} inputs of 784 features to a file of {size:.1f} GiB: {spent:.0f} s, {used:.0f} s of a core\n"
        f"  own memory (RssAnon): {peaks['RssAnon']:.2f} GiB at most, {before['RssAnon']:.2f} before, with the inputs\n"
        f"  mapped files (RssFile): {peaks['RssFile']:.2f} GiB at most, {before['RssFile']:.2f} before\n"
        f"  both (VmRSS): {peaks['VmRSS']:.2f} GiB at most"
    )
    facts = {"file_gib": size, "seconds": spent, "core_seconds": used, "before_gib": before, "peak_gib": peaks}
    return {"title": f"NTK of {n} inputs to a file"} | facts


def _told(done: float, total: float, what: str) -> None:
    if sys.stdout.isatty():
        print(f"  {what}, {done / total:.0%}", end="\r", flush=True)


@contextmanager
def _peaks() -> Iterator[dict[str, float]]:
    """The most resident memory within it, by kind, looked at twenty times a second."""
    peaks, over = _resident(), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            peaks.update({kind: max(peaks[kind], now) for kind, now in _resident().items()})

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _resident() -> dict[str, float]:
    """GiB of this process in memory: its own, of files it has mapped, and both."""
    lines = [line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()]
    return {w[0][:-1]: int(w[1]) / 2**20 for w in lines if w and w[0] in ("RssAnon:", "RssFile:", "VmRSS:")}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("dense", "gap", "tanh", "memory", "quick"), default="quick")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depths", type=int, nargs="+", default=(1, 5))
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--inputs", type=int, help="of the parts tanh (500) and memory (20000)")
    parser.add_argument("--scratch", type=Path, help="where the file of the part memory is for a while")
    parser.add_argument("--name", help="of that file, instead of the part's")
    parser.add_argument("--out", type=Path, help="folder for a JSON of what was found")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.manual_seed(0)
    header("Kernels of infinite width, one core")
    print(f"  neural-tangents: {_peer_version()}")
    found: list[dict[str, Any]] = []
    if arguments.part in ("dense", "quick"):
        for depth in arguments.depths:
            title = f"NNGP and NTK, d = 784, n = 4000, ReLU, {depth} hidden layers, float32"
            found.append(compare(title, dense(depth), arguments.rounds))
    if arguments.part in ("tanh", "quick"):
        n = arguments.inputs or 500
        found.append(compare(f"NNGP and NTK, d = 100, n = {n}, tanh, float32", tanh(n), arguments.rounds))
    if arguments.part == "gap":
        title = f"CNN of 10 layers, global average pooling, {arguments.images} images 16 x 16 x 3, float32"
        found.append(compare(title, gap(arguments.images), arguments.rounds))
    if arguments.part == "memory":
        found.append(memory(arguments.inputs or 20000, arguments.scratch))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        facts = {"machine": machine() | {"neural-tangents": _peer_version()}, "results": found}
        path = arguments.out / f"bench-{arguments.name or arguments.part}.json"
        path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _peer_version() -> str:
    return f"{neural_tangents.__version__}, jax {jax.__version__}" if stax else f"cannot be imported ({WHY})"


if __name__ == "__main__":
    main()
