"""``widthwise bench``: what pruning would gain in time on this machine, before anything is pruned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widthwise._interrupt import INTERRUPTED
from widthwise.cli.console import friendly, out, progress_bar
from widthwise.cli.naming import named_network
from widthwise.errors import InputError, check_threads

if TYPE_CHECKING:
    from widthwise.sparse.measure import Speed

__all__ = ["bench_command"]

_DEFAULT = (0.5, 0.8, 0.9, 0.95, 0.98)


@friendly
def bench_command(
    model: Annotated[
        str,
        typer.Argument(
            help="A built-in network (mlp, resnet32, vgg16, ...), or one of yours: file.py:factory or "
            "package.module:factory."
        ),
    ],
    sparsity: Annotated[
        list[float] | None,
        typer.Option(help="Fraction of the weights to remove; may be repeated.  [default: 0.5 0.8 0.9 0.95 0.98]"),
    ] = None,
    batch: Annotated[int, typer.Option(help="Examples a batch.")] = 128,
    threads: Annotated[int | None, typer.Option(help="Threads to use.  [default: PyTorch's number]")] = None,
    shape: Annotated[str, typer.Option("--input", help="Shape of one example.")] = "3x32x32",
    outputs: Annotated[int, typer.Option(help="Number of outputs, where the network takes it.")] = 10,
    arguments: Annotated[
        list[str] | None, typer.Option("--set", help="An argument of the network, as name=value; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Times to run each contender.")] = 15,
    seconds: Annotated[float, typer.Option(help="A measurement ends after this long, and three rounds.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Draws the weights, the masks and the batch.")] = 0,
    to: Annotated[Path, typer.Option("--out", help="Folder for speed.csv, speed.json and speed.svg.")] = Path(
        "widthwise-out"
    ),
) -> None:
    """Time a network, and each of its layers, dense and sparse, at random sparsity; nothing is trained or pruned.

    For example `widthwise bench mlp --set width=1024 --input 784 --sparsity 0.9 --sparsity 0.95`, or
    `widthwise bench resnet18 --batch 32 --threads 1`.
    """
    import torch

    from widthwise._atomic import check_folder
    from widthwise.errors import check_integer, check_number
    from widthwise.report.speed import speed_table
    from widthwise.sparse.measure import measure_speeds, sparse_layers

    check_folder(to)
    sizes = _sizes(shape)
    check_integer("--outputs", outputs, 1)
    if threads is not None:
        torch.set_num_threads(check_threads("--threads", threads))
    network = named_network(model, arguments, sizes, outputs, seed)
    example = torch.randn(check_integer("--batch", batch, 1), *sizes, generator=torch.Generator().manual_seed(seed))
    sparsities = sorted({check_number("--sparsity", each, 0, 1, high_open=True) for each in sparsity or _DEFAULT})
    speeds: list[Speed] = []
    total = 2 * len(sparsities) * (len(sparse_layers(network)) + 1)
    stopped = False
    try:
        with progress_bar() as watch:
            for speed in measure_speeds(network, example, sparsities, rounds=rounds, seconds=seconds, seed=seed):
                speeds.append(speed)
                watch(len(speeds), total, f"{speed.layer} {speed.work}")
    except KeyboardInterrupt:
        stopped = True
    except InputError as error:
        raise _about_the_example(error, sizes) from error
    if speeds:
        out.print(speed_table(speeds))
        _write(speeds, to, {"model": model, "arguments": arguments or [], "input": list(sizes), "batch": batch})
    if stopped:
        typer.echo(f"stopped: {len(speeds)} of {total} measurements are done and kept", err=True)
        raise typer.Exit(INTERRUPTED)


def _about_the_example(error: InputError, sizes: tuple[int, ...]) -> InputError:
    """The same error, but for a model that does not take such an example: then with the option that gives its shape."""
    if not str(error).startswith("example:"):
        return error
    got = "x".join(map(str, sizes))
    return InputError(f"--input: got {got}, allowed is the shape of one example that the model takes ({error})")


def _sizes(shape: str) -> tuple[int, ...]:
    """``3x32x32`` as numbers."""
    parts = shape.split("x")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"--input: got {shape!r}, allowed are sizes joined by x, such as 784 or 3x32x32")
    return tuple(map(int, parts))


def _write(speeds: Sequence[Speed], folder: Path, settings: dict[str, object]) -> None:
    from dataclasses import asdict

    from widthwise._atomic import atomic_path, write_text
    from widthwise.environment import machine
    from widthwise.report.speed import speed_csv, speed_figure

    held = {"settings": settings, "machine": machine(), "speeds": [asdict(speed) for speed in speeds]}
    write_text(folder / "speed.csv", speed_csv(speeds))
    write_text(folder / "speed.json", json.dumps(held, indent=1) + "\n")
    with atomic_path(folder / "speed.svg") as part:
        speed_figure(speeds).savefig(part, format="svg", metadata={"Date": None})
    for name in ("speed.csv", "speed.json", "speed.svg"):
        out.print(str(folder / name), highlight=False, markup=False, soft_wrap=True)
