"""``python -m widthwise.experiments.asymmetrical_scaling NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run

sys.exit(run("asymmetrical-scaling"))
