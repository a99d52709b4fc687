"""``python -m widthwise.experiments.robust_pruning NAME --scale small --out DIR``."""

import sys

from widthwise.experiments.command import run
from widthwise.experiments.robust_pruning import EXPERIMENTS

sys.exit(run("robust_pruning", EXPERIMENTS))
