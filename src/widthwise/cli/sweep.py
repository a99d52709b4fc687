"""``widthwise sweep``: a grid of runs from a TOML file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from widthwise.cli.console import friendly, out
from widthwise.errors import check_integer

if TYPE_CHECKING:
    from widthwise.sweep import Plan, Run, Status, Sweep

__all__ = ["sweep_command"]

_FAILED = 1
_SHOWN = 8  # rows of the live table
_TICK = 0.5  # seconds between two pictures
_LINE = 60.0  # and between two lines, where nobody looks


@friendly
def sweep_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to run.", show_default=False)],
    jobs: Annotated[
        int | None, typer.Option(help="Runs at the same time.  [default: one a core, all that Ray has room for]")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on the Ray cluster at HOST:PORT, or `local` for one of its own."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each run.  [default: cores / jobs; 1 on Ray]")] = None,
    retries: Annotated[int, typer.Option(help="Times a run that failed is tried again.")] = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Tell count, cost and time. If no run is finished yet, the first is, and kept."),
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="List this file's finished runs, one JSON object a line, and stop.")
    ] = False,
    to: Annotated[Path, typer.Option("--out", help="Folder for results.sqlite.")] = Path("widthwise-out"),
) -> None:
    """Run a function over a grid: each run once, results stored as they come.

    However it ends (Ctrl-C, a killed process, a lost node), the same command goes on from there, and no finished run
    is lost or repeated. Several on one folder share out the runs. Exit code 1 if runs failed.

    For example, with `run = "train"`, `seeds = 3` and under `[grid]` `width = [16, 64]` in the file,
    `widthwise sweep sweep.toml --jobs 2 --out results`.
    """
    from widthwise.sweep import perform, read_plan

    for name, number, low in (("--jobs", jobs, 1), ("--threads", threads, 1), ("--retries", retries, 0)):
        if number is not None:
            check_integer(name, number, low)
    plan = read_plan(config)
    if listed:
        _list(plan, to)
    elif dry_run:
        _estimate(plan, to, jobs, ray, threads)
    else:
        with _picture(plan) as watch:
            found = perform(plan, to, jobs=jobs, ray=ray, threads=threads, retries=retries, watch=watch)
        _conclude(found, to)


def _list(plan: Plan, folder: Path) -> None:
    from widthwise.sweep import results

    for row in results(folder, plan):
        typer.echo(json.dumps(row))


def _estimate(plan: Plan, folder: Path, jobs: int | None, ray: str | None, threads: int | None) -> None:
    from widthwise.sweep import estimate

    found = estimate(plan, folder, jobs=jobs, ray=ray, threads=threads)
    lines: dict[str, Any] = {"runs": found.total, "finished": found.done, "left": found.left}
    lines |= {"at the same time": found.slots, "threads each": found.threads}
    if found.each is not None and found.cost is not None and found.time is not None:
        lines["seconds each"] = f"{found.each:.3g} (mean of {found.timed})"
        lines["cost"] = f"about {_duration(found.cost)} of one core"
        lines["time"] = f"about {_duration(found.time)}"
    for name, value in lines.items():
        out.print(f"{name}: {value}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _picture(plan: Plan) -> Iterator[Callable[[Status], None]]:
    """A table of what is running, redrawn while it is looked at; in a file, a line now and then."""
    from widthwise.sweep.plan import varied

    runs = plan.runs()
    names, last = varied(list(runs.values())), time.monotonic()
    with Live(console=out, auto_refresh=False, transient=True) as live:

        def watch(status: Status) -> None:
            nonlocal last
            if time.monotonic() - last < (_TICK if out.is_terminal else _LINE):
                return
            last = time.monotonic()
            if out.is_terminal:
                live.update(_table(plan, names, runs, status), refresh=True)
            else:
                typer.echo(_headline(plan, status))

        yield watch


def _headline(plan: Plan, status: Status) -> str:
    left = "" if status.left is None else f", about {_duration(status.left)} left"
    elsewhere = f", {status.elsewhere} in another sweep's hands" if status.elsewhere else ""
    return f"{plan.entry.name}: {status.done} of {status.total} done, {len(status.failed)} failed{elsewhere}{left}"


def _table(plan: Plan, names: list[str], runs: Mapping[str, Run], status: Status) -> Group:
    table = Table()
    for name in (*names, "seconds"):
        table.add_column(Text(name))
    for name in list(status.running)[:_SHOWN]:
        cells = (Text(str(runs[name].arguments.get(each, ""))) for each in names)
        table.add_row(*cells, f"{time.monotonic() - status.running[name]:.0f}")
    return Group(Text(_headline(plan, status), "bold"), table)


def _conclude(found: Sweep, folder: Path) -> None:
    traces: dict[str, list[str]] = {}
    for run, failure in found.failed:
        traces.setdefault("" if failure.trace == failure.error else failure.trace.rstrip(), []).append(
            f"failed: {json.dumps(dict(run.arguments))}: {failure.error}"
        )
    for trace, lines in traces.items():
        for line in lines:
            out.print(line, style="red", markup=False, soft_wrap=True)
        if trace:
            out.print(trace, highlight=False, markup=False, soft_wrap=True)
    said = f"{found.run} run now, {len(found.rows)} in {folder / 'results.sqlite'}, {len(found.failed)} failed"
    out.print(said, highlight=False, markup=False, soft_wrap=True)
    if found.failed:
        raise typer.Exit(_FAILED)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
