"""``widthwise report``: one page on runs of any origin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.console import friendly

__all__ = ["report_command"]


@friendly
def report_command(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="Folders or files that compare, reproduce or sweep has written."),
    ],
    to: Annotated[Path, typer.Option("--out", "-o", help="The page, a single file.")] = Path("report.html"),
    listed: Annotated[
        bool, typer.Option("--list", help="List what there is, one a line, name first, and write nothing.")
    ] = False,
    metric: Annotated[
        str | None,
        typer.Option(
            help="The result of a sweep to explain.  [default: the most usual one there is]", show_default=False
        ),
    ] = None,
) -> None:
    """Write one page on runs: findings beside their evidence, plots with their numbers, tables that sort and filter.

    The page is a single file and opens offline, on a desk and on a phone, in light and dark.

    For example `widthwise report widthwise-out`, or `widthwise report sweep.sqlite other.sqlite -o sweeps.html`.
    """
    from widthwise.report.runs import find_parts, write_runs
    from widthwise.report.summary import clean

    parts = find_parts(runs, metric) if listed else write_runs(runs, to, metric=metric)
    for part in parts:
        line = f"{part.name}\t{part.kind}\t{part.size} rows\t{part.finding}"
        typer.echo(clean(line, keep=" \t"))
    if not listed:
        typer.echo(to)
