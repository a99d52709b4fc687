"""The command line of a paper's experiments: ``python -m widthwise.experiments.PAPER NAME --scale small --out DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from widthwise.errors import InputError, InputTypeError
from widthwise.experiments.outcome import SCALES, Outcome, save

__all__ = ["Experiment", "run"]

Experiment = Callable[[str, Any, int], Outcome]
"""From a scale, a data set and a seed to what it gives."""


def run(paper: str, experiments: Mapping[str, Experiment], arguments: Sequence[str] | None = None) -> int:
    """Run one experiment, write what it gives, and print what it found.

    Args:
        paper: the module's name below ``widthwise.experiments``.
        experiments: by name.
        arguments: of the command line, those of the process by default.

    Returns:
        0, or 2 for an expected error, which is printed in one line.
    """
    program = f"python -m widthwise.experiments.{paper}"
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("name", choices=experiments)
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--data", help="a data set by name or path instead of the paper's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", required=True, help="folder for NAME-SCALE.json, .csv and .svg")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)  # signals that fade with depth end in denormals, which are very slow
    try:
        outcome = experiments[options.name](options.scale, options.data, options.seed)
        seed = f" --seed {options.seed}" if options.seed else ""
        paths = save(outcome, options.out, f"{program} {options.name} --scale {options.scale}{seed} --out DIR")
    except (InputError, InputTypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        torch.set_flush_denormal(False)
    for line in (*outcome.notes, *map(str, paths)):
        print(line)
    return 0
