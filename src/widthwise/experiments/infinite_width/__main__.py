"""``python -m widthwise.experiments.infinite_width NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run

sys.exit(run("infinite-width"))
