"""``widthwise compress``: fewer hidden units for a layer in a file of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.console import as_options, friendly, out, own_folder

__all__ = ["compress_command"]

_FILES = ("model.safetensors", "report.json", "curve.svg")


@friendly
def compress_command(
    file: Annotated[Path, typer.Argument(help="A safetensors file of a state_dict.", show_default=False)],
    layer: Annotated[str, typer.Option(help="The block's first layer, by name.", show_default=False)],
    size: Annotated[int, typer.Option("--to", help="Hidden units wanted.", show_default=False)],
    second: Annotated[str | None, typer.Option(help="Its second layer.  [default: the next that fits]")] = None,
    activation: Annotated[str, typer.Option(help="The activation between them.")] = "relu",
    data: Annotated[
        str | None,
        typer.Option(help="Data set whose examples, flattened, enter the layer.  [default: standard normal inputs]"),
    ] = None,
    standardize: Annotated[str, typer.Option(help="Scale of the data: global, pixel or none.")] = "global",
    iterations: Annotated[int, typer.Option(help="Steps of the optimiser, at most.")] = 50,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    to: Annotated[Path, typer.Option("--out", help="Folder for model.safetensors, report.json and curve.svg.")] = Path(
        "widthwise-out"
    ),
) -> None:
    """Replace a Linear-activation-Linear block by one with fewer hidden units, as near to it as can be.

    Prints the error of the best method and of what one would try first: keeping, clustering or merging units.

    For example `widthwise compress model.safetensors --layer 0 --to 64 --data mnist-folder`.
    """
    from widthwise import data as datasets
    from widthwise.compression.files import compress_file

    own_folder(to, _FILES, "report.json")
    inputs = None
    if data is not None:
        parts = datasets.split(datasets.load(data), validation=0.0, standardize=standardize)
        inputs = parts.train[0].flatten(1)
    with as_options(M="--to"):
        reports = compress_file(
            file, layer, size, to, second=second, activation=activation, data=inputs, iterations=iterations, seed=seed
        )
    out.print(str(reports["optimal"]), highlight=False, soft_wrap=True)
    for method, report in reports.items():
        for block in report.blocks:
            out.print(f"{method}: error {block.error:.3e}", highlight=False)
    out.print("\n" + "\n".join(str(to / name) for name in _FILES), highlight=False, soft_wrap=True)
