"""The command line: one module a command, and nothing imports it."""

from __future__ import annotations

import io
import sys

import typer

from widthwise._version import __version__
from widthwise.cli import bench, compare, compress, data, kernel, prune, report, reproduce, spectrum, sweep

__all__ = ["app", "main"]

app = typer.Typer(
    name="widthwise",
    help="Spend a fixed budget of weights well: wide sparse networks, pruning at initialization, infinite width.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("compare")(compare.compare_command)
app.command("prune")(prune.prune_command)
app.command("compress")(compress.compress_command)
app.command("bench")(bench.bench_command)
app.command("reproduce")(reproduce.reproduce_command)
app.command("sweep")(sweep.sweep_command)
app.command("report")(report.report_command)
app.command("data")(data.data_command)
kernel.app.command("spectrum")(spectrum.spectrum_command)
app.add_typer(kernel.app, name="kernel")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"widthwise {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options that stand before any command."""


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # names of files that its encoding has no signs for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="widthwise")  # also as `python -m widthwise`, where the completion would be named after Python
