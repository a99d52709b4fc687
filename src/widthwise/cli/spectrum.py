"""``widthwise kernel spectrum``: how wide a network must be for a data set, by its kernel's smallest eigenvalue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.console import as_options, friendly, out, progress_bar

__all__ = ["spectrum_command"]


@friendly
def spectrum_command(
    data: Annotated[str, typer.Argument(help="A data set by name or path.", show_default=False)],
    rows: Annotated[int | None, typer.Option(help="Use the first so many examples.  [default: all]")] = None,
    prepare: Annotated[
        str, typer.Option(help="normalized, zero-mean, whitened or whitened-centred; all give rows of norm 1.")
    ] = "normalized",
    activation: Annotated[str, typer.Option(help="Of the hidden layer.")] = "relu",
    target: Annotated[
        str | None, typer.Option(help="The column to leave out, for a table.", show_default=False)
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the factor: double, or single in half the time and space. The result is double.")
    ] = "double",
    tolerance: Annotated[float, typer.Option(help="Residual of the smallest eigenvalue, relative to it.")] = 1e-6,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that work out tiles.  [default: this one]", show_default=False)
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work out tiles on the Ray cluster at HOST:PORT, or `local`."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the factor's tiles when the result is there.")] = False,
    to: Annotated[Path, typer.Option("--out", help="Folder for result.json, and for tiles on the way there.")] = Path(
        "widthwise-out"
    ),
) -> None:
    """Largest eigenvalue of X^T X, smallest of the limiting kernel H, and the width that they ask for.

    The factor of n examples takes 4 n^2 bytes of disk (14.4 GB for 60 000), half of it with --precision single. Ctrl-C
    keeps what is done; the same command goes on from there.

    For example `widthwise kernel spectrum digits`, or `widthwise kernel spectrum mnist --rows 10000`.
    """
    from widthwise import data as datasets
    from widthwise._atomic import check_folder
    from widthwise.errors import check_integer
    from widthwise.kernels import extreme_eigenvalues, prepare_rows

    check_folder(to)
    x = datasets.load(data, target=target).x
    if rows is not None:
        x = x[: check_integer("--rows", rows, 2, len(x))]
    with as_options(how="--prepare", folder="--out"), progress_bar() as watch:
        found = extreme_eigenvalues(
            prepare_rows(x.double(), prepare),
            activation,
            folder=to,
            precision=precision,
            tolerance=tolerance,
            keep=keep,
            jobs=jobs,
            ray=ray,
            progress=watch,
        )
    lines = {"examples": found.n, "largest": f"{found.largest:.9g} +- {found.largest_error:.1g}"}
    lines["smallest"] = f"{found.smallest:.9g} +- {found.smallest_error:.1g}"
    if activation == "relu":  # |phi'| <= 1
        lines |= {"kappa": f"{found.kappa():.6g}", "width": found.width()}
    for name, value in lines.items():
        out.print(f"{name} {value}", highlight=False, soft_wrap=True)
