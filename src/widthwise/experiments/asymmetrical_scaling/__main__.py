"""``python -m widthwise.experiments.asymmetrical_scaling NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run

__all__ = ["run"]

sys.exit(run("asymmetrical-scaling"))
