"""``python -m widthwise.experiments.asymmetrical_scaling NAME --scale small --out DIR``."""

from __future__ import annotations

import argparse
import sys

import torch

from widthwise.errors import InputError, InputTypeError
from widthwise.experiments.asymmetrical_scaling import EXPERIMENTS
from widthwise.experiments.outcome import SCALES, save


def main(arguments: list[str] | None = None) -> int:
    """Run one experiment, write what it gives, and print what it found; 2 for an expected error."""
    parser = argparse.ArgumentParser(prog="python -m widthwise.experiments.asymmetrical_scaling", description=__doc__)
    parser.add_argument("name", choices=EXPERIMENTS)
    parser.add_argument("--scale", choices=SCALES, default="smoke")
    parser.add_argument("--data", help="a file, a folder of files or a set of the paper's kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", required=True, help="folder for NAME-SCALE.json, .csv and .svg")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        outcome = EXPERIMENTS[options.name](options.scale, options.data, options.seed)
        seed = f" --seed {options.seed}" if options.seed else ""
        data = " --data DATA" if options.data else ""
        program = "python -m widthwise.experiments.asymmetrical_scaling"
        command = f"{program} {options.name} --scale {options.scale}{data}{seed} --out DIR"
        paths = save(outcome, options.out, command)
    except (InputError, InputTypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in (*outcome.notes, *map(str, paths)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
