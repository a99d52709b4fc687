"""``python -m widthwise.experiments.wider_nets NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run

__all__ = ["run"]

sys.exit(run("wider-nets"))
