"""``widthwise data``: which data sets there are, and what is in one."""

from __future__ import annotations

from typing import Annotated

import typer

from widthwise.cli.console import friendly

__all__ = ["data_command"]


@friendly
def data_command(
    spec: Annotated[str | None, typer.Argument(help="A name or a path; without it, the known names.")] = None,
    target: Annotated[str | None, typer.Option(help="The target column of a table.")] = None,
) -> None:
    """List the data sets known by name, or read one and say what it holds."""
    from widthwise import data

    if spec is None:
        for name in data.names():
            typer.echo(name)
        return
    found = data.load(spec, target=target)
    facts = {
        "name": found.name,
        "task": found.task,
        "examples": len(found.x),
        "test": "none of its own" if found.test is None else len(found.test[0]),
        "input": "x".join(map(str, found.x.shape[1:])),
        "outputs": found.n_outputs,
        "classes": ", ".join(found.classes) or "-",
    }
    for key, value in facts.items():
        typer.echo(f"{key}: {value}")
