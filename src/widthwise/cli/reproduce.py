"""``widthwise reproduce``: the papers' figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from widthwise.cli.console import friendly, out, progress_bar
from widthwise.errors import InputError

__all__ = ["reproduce_command"]


@friendly
def reproduce_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="PAPER/NAME...", help="Experiments, or papers for all of theirs.", show_default=False),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List every experiment and how it stands, and stop.")] = False,
    scale: Annotated[
        str, typer.Option(help="smoke (seconds), small (minutes) or paper (the paper's own sizes).")
    ] = "small",
    data: Annotated[
        str | None,
        typer.Option(
            help="A data set by name or path, where an experiment reads one.  [default: the paper's]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[
        int | None,
        typer.Option(help="How many seeds to average over, where an experiment does.  [default: the scale's]"),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A safetensors file of a trained network whose features to use: an ImageNet ResNet-18 for "
            "asymmetrical-scaling/fig4 and fig11.  [default: a network trained here]",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch.  [default: one a core]")] = None,
    again: Annotated[bool, typer.Option("--again", help="Run what --out already holds too.")] = False,
    to: Annotated[Path, typer.Option("--out", help="Folder for NAME-SCALE.json, .csv and .svg.")] = Path(
        "widthwise-out"
    ),
) -> None:
    """Run experiments of the papers: their numbers, a drawing, and what was found.

    Ctrl-C keeps what is done; the same command goes on from there.

    For example `widthwise reproduce asymmetrical-scaling/fig1 --scale paper`, or
    `widthwise reproduce two-layer-compression --scale smoke` for all of a paper.
    """
    from widthwise.experiments.command import reproduce
    from widthwise.experiments.states import known

    if listed:
        states = known()
        for name, state in states.items():
            typer.echo(f"{name:<{max(map(len, states))}}  {state}")
        return
    if not names:
        raise InputError("PAPER/NAME: got none, allowed are those that `widthwise reproduce --list` lists")
    with progress_bar() as watch:
        chosen: dict[str, Any] = {"seed": seed, "seeds": seeds, "weights": weights, "threads": threads}
        for lines in reproduce(names, to, scale=scale, data=data, **chosen, again=again, watch=watch):
            for line in lines:
                out.print(line, highlight=False, markup=False, soft_wrap=True)
