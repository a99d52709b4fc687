"""Every experiment of every paper by name: ``PAPER/NAME``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from widthwise.errors import InputError, check_choice, check_type, shown
from widthwise.experiments.claims import Claim
from widthwise.experiments.outcome import Outcome

__all__ = ["PAPERS", "Experiment", "check_options", "claim_of", "experiments", "find", "names", "takes"]

PAPERS = (
    "wider-nets",
    "two-layer-compression",
    "asymmetrical-scaling",
    "linearized-difference-networks",
    "robust-pruning",
)

Experiment = Callable[..., Outcome]
"""Called with a scale, a data set, which one that reads none calls ``_data``, and a seed. One that averages over seeds
also takes ``seeds``, how many; one that uses a trained network of the user's also takes ``weights``, its file."""


def experiments(paper: str) -> Mapping[str, Experiment]:
    """The experiments of a paper by name.

    Raises:
        InputError: for an unknown paper; the message lists them and suggests the nearest.
    """
    module = import_module(f"widthwise.experiments.{check_choice('PAPER', paper, PAPERS).replace('-', '_')}")
    found: Mapping[str, Experiment] = module.EXPERIMENTS
    return found


def names() -> list[str]:
    """``PAPER/NAME`` of all of them, a paper's together and in its own order."""
    return [f"{paper}/{name}" for paper in PAPERS for name in experiments(paper)]


def find(name: str) -> dict[str, Experiment]:
    """The experiment ``PAPER/NAME``, or all those of ``PAPER``, by their full names.

    Raises:
        InputError: if there is none; the message suggests the nearest.

    Example:
        >>> list(find("asymmetrical-scaling/fig5"))
        ['asymmetrical-scaling/fig5']
    """
    paper, slash, short = check_type("experiment", name, str).partition("/")
    if paper in PAPERS:
        known = experiments(paper)
        if not slash:
            return {f"{paper}/{each}": run for each, run in known.items()}
        if short in known:
            return {name: known[short]}
    near = [other for other in names() if other.endswith(f"/{name}")] or difflib.get_close_matches(name, names())
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise InputError(f"experiment: got {name!r}, allowed is what `widthwise reproduce --list` lists{hint}")


def claim_of(name: str) -> Claim | None:
    """What the paper claims of ``PAPER/NAME``; ``None`` for what is no figure or table of it."""
    paper, _, short = name.partition("/")
    module = import_module(f"widthwise.experiments.{paper.replace('-', '_')}")
    claims: Mapping[str, Claim] = getattr(module, "CLAIMS", {})
    return claims.get(short)


def check_options(wanted: Mapping[str, Experiment], options: Mapping[str, Any]) -> None:
    """Refuse an option that one of the experiments has not; those that are ``None`` were not given.

    Raises:
        InputError: naming the experiments of its paper that have it.
    """
    for option, value in options.items():
        for name, experiment in wanted.items():
            if value is None or takes(experiment, option):
                continue
            paper = name.partition("/")[0]
            able = [f"{paper}/{short}" for short, run in experiments(paper).items() if takes(run, option)]
            raise InputError(
                f"{option}: got {shown(value)}, but {name} has no such choice; leave it out"
                + (f", or name only those that have it: {', '.join(able)}" if able else "")
            )


def takes(run: Experiment, option: str) -> bool:
    """Whether an experiment has an option, such as ``"data"`` or ``"seeds"``, beside scale and seed."""
    return option in inspect.signature(run).parameters
