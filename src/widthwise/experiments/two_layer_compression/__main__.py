"""``python -m widthwise.experiments.two_layer_compression [NAME] --scale small --out DIR``."""

from __future__ import annotations

import argparse
import sys

import torch

from widthwise.errors import InputError, InputTypeError
from widthwise.experiments.outcome import SCALES, save
from widthwise.experiments.two_layer_compression import EXPERIMENTS


def main(arguments: list[str] | None = None) -> int:
    """Run one experiment or all, write what they give, and print what they found; 2 for an expected error."""
    program = "python -m widthwise.experiments.two_layer_compression"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of {', '.join(EXPERIMENTS)} by default")
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--data", help="a data set by name or path instead of the paper's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", required=True, help="folder for NAME-SCALE.json, .csv and .svg")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"NAME: got {unknown[0]!r}, allowed are {', '.join(EXPERIMENTS)}")
    torch.set_num_threads(options.threads)
    for name in options.names or EXPERIMENTS:
        try:
            outcome = EXPERIMENTS[name](options.scale, options.data, options.seed)
            seed = f" --seed {options.seed}" if options.seed else ""
            paths = save(outcome, options.out, f"{program} {name} --scale {options.scale}{seed} --out DIR")
        except (InputError, InputTypeError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for line in (*outcome.notes, *map(str, paths)):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
