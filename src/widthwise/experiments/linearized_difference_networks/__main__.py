"""``python -m widthwise.experiments.linearized_difference_networks NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run

__all__ = ["run"]

sys.exit(run("linearized-difference-networks"))
