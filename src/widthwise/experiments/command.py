"""Running experiments: what they give is written, and what is already there is not run again.

``widthwise reproduce PAPER/NAME`` is the way to it, ``python -m widthwise.experiments.PAPER NAME`` the same for one
paper.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from widthwise._atomic import made_folder
from widthwise._jsonfile import read_json
from widthwise._locks import alone, elsewhere
from widthwise.errors import InputError, InputTypeError, check_choice, check_integer, check_threads
from widthwise.experiments.claims import Claim, judged, sentence, substitute_for
from widthwise.experiments.outcome import SCALES, Outcome, paths_of, record_of, write
from widthwise.experiments.parts import Watch, kept_in
from widthwise.experiments.registry import Experiment, check_options, claim_of, find

__all__ = ["reproduce", "run"]


def reproduce(
    names: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    scale: str = "small",
    data: Any = None,
    seed: int = 0,
    seeds: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    again: bool = False,
    watch: Watch | None = None,
) -> Iterator[list[str]]:
    """Run experiments one after another and write what each gives as soon as it ends.

    Args:
        names: ``PAPER/NAME``, or ``PAPER`` for all of its own; one, or several.
        out: folder for NAME-SCALE.json, .csv and .svg; one a paper below it where several papers are asked for.
        scale: ``"smoke"``, ``"small"`` or ``"paper"``.
        data: a data set by name or path instead of the paper's, where an experiment reads one.
        seed: the first seed.
        seeds: how many seeds to average over, where an experiment does; the scale's number if omitted.
        weights: a file of a trained network, for an experiment that takes features of one.
        threads: of PyTorch; as many as now if omitted.
        again: run what is already there too.
        watch: told of the parts of each; their number is infinite while another process that runs the same in the
            same folder is waited for.

    Yields:
        For each experiment one sentence or path a line: whether the paper's claim held, what was found, the paths
        written. Where other data stand in for the paper's, the first line says so.

    Raises:
        InputError: for a name, a scale, a number or data that are not allowed, or an option that one of them has not.
        OSError: if the folder cannot be written.
    """
    check_choice("scale", scale, SCALES)
    check_integer("seed", seed, 0, 2**31)
    wanted: dict[str, Experiment] = {}
    for name in [names] if isinstance(names, str) else names:
        wanted |= find(name)
    chosen: dict[str, Any] = {}
    if seeds is not None:
        chosen["seeds"] = check_integer("seeds", seeds, 1)
    if weights is not None:
        chosen["weights"] = os.fspath(weights)
    check_options(wanted, {"data": data, **chosen})
    several = len({name.partition("/")[0] for name in wanted}) > 1
    shown = {"data": data and "DATA", "seed": seed or None, "seeds": seeds, "weights": weights and "FILE"}
    options = "".join(f" --{key} {value}" for key, value in shown.items() if value)
    with _settings(threads), kept_in(Path(out) / f".parts-{scale}.sqlite", watch):
        for name, experiment in wanted.items():
            paper = name.partition("/")[0]
            folder = Path(out) / paper if several else Path(out)
            command = f"widthwise reproduce {name} --scale {scale}{options} --out DIR"
            with _alone(name, folder, scale, watch):
                lines = [] if again else _found(name, folder, scale, command)
                if not lines:
                    outcome = experiment(scale, data, seed, **chosen)
                    lines = _written(name, outcome, folder, command, substitute_for(claim_of(name), scale, data))
            yield lines


def run(paper: str, arguments: Sequence[str] | None = None) -> int:
    """The command line of one paper's experiments; 0, or 2 for an expected error, which is printed in one line.

    Args:
        paper: such as ``"robust-pruning"``.
        arguments: of the command line, those of the process by default.
    """
    parser = argparse.ArgumentParser(prog=f"python -m widthwise.experiments.{paper.replace('-', '_')}")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of the paper's by default")
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--data", help="a data set by name or path instead of the paper's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--weights", help="a file of a trained network, where an experiment takes features of one")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--again", action="store_true", help="run what is already there too")
    parser.add_argument("--out", required=True, help="folder for NAME-SCALE.json, .csv and .svg")
    options = vars(parser.parse_args(arguments))
    names = [f"{paper}/{name}" for name in options.pop("names")] or paper
    try:
        for lines in reproduce(names, options.pop("out"), **options):
            print(*lines, sep="\n", flush=True)
    except (InputError, InputTypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _written(name: str, outcome: Outcome, folder: Path, command: str, substitute: str | None) -> list[str]:
    """Hold the outcome against the paper's claim, write it, and tell of it."""
    record, claim = record_of(outcome, command) | {"substitute": substitute}, claim_of(name)
    if claim is not None:
        verdict = judged(claim, record)
        told = {"text": claim.text, "verdict": verdict.word, "why": verdict.why, "ours": verdict.ours}
        record["claim"] = told | {"theirs": claim.theirs}
    return [*_told(record, claim), *map(str, write(record, outcome.figure, folder))]


def _told(record: Mapping[str, Any], claim: Claim | None) -> list[str]:
    """What a run found, a sentence a line."""
    substitute = record.get("substitute")
    lines = [f"substitute data: {substitute} in place of the paper's"] if substitute else []
    lines += [sentence(claim, judged(claim, record))] if claim else []
    return [*lines, *record["notes"]]


def _found(name: str, folder: Path, scale: str, command: str) -> list[str]:
    """What an earlier run of the same command has left, if it left everything."""
    paths = paths_of(folder, name.partition("/")[2], scale)
    if not all(path.exists() for path in paths):
        return []
    try:
        record = read_json(paths[0])
        same = record["command"] == command
        return [*_told(record, claim_of(name)), *(f"{path} (was there)" for path in paths)] if same else []
    except Exception:  # a judge may raise anything at rows that it was never meant for: then they are made again
        return []


def _alone(name: str, folder: Path, scale: str, watch: Watch | None) -> AbstractContextManager[None]:
    """Within it, no other process runs the experiment in the folder; one that does is waited for."""
    lock = made_folder(folder) / f".{name.partition('/')[2]}-{scale}-lock"
    return alone(lock, lambda: watch and watch(0.0, math.inf, elsewhere(folder, name)))


@contextmanager
def _settings(threads: int | None) -> Iterator[None]:
    """PyTorch's threads; and denormals flushed: signals that fade with depth end in them, and they are very slow."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(check_threads("threads", threads))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
