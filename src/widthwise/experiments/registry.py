"""Every experiment of every paper by name: ``PAPER/NAME``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module

from widthwise.errors import InputError, check_choice, check_type
from widthwise.experiments.claims import Claim
from widthwise.experiments.outcome import Outcome

__all__ = ["PAPERS", "Experiment", "claim_of", "experiments", "find", "names", "takes"]

PAPERS = (
    "wider-nets",
    "two-layer-compression",
    "asymmetrical-scaling",
    "linearized-difference-networks",
    "robust-pruning",
)

Experiment = Callable[..., Outcome]
"""Called with a scale, a data set and a seed. One that averages over seeds also takes ``seeds``, how many; one that
uses a trained network of the user's also takes ``weights``, its file."""


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


def takes(run: Experiment, option: str) -> bool:
    """Whether an experiment has an option, such as ``"seeds"``, beside scale, data and seed."""
    return option in inspect.signature(run).parameters
