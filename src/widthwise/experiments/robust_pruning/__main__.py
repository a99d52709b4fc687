"""``python -m widthwise.experiments.robust_pruning NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run

__all__ = ["run"]

sys.exit(run("robust-pruning"))
