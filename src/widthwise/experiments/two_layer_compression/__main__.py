"""``python -m widthwise.experiments.two_layer_compression NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run

__all__ = ["run"]

sys.exit(run("two-layer-compression"))
