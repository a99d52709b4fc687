"""Sweeps: any function over a grid, in processes of this machine or on a Ray cluster, each run once."""

from widthwise.sweep.config import read_plan
from widthwise.sweep.entries import ENTRIES
from widthwise.sweep.entry import Entry
from widthwise.sweep.estimate import Estimate, estimate
from widthwise.sweep.plan import Plan, Run
from widthwise.sweep.run import Sweep, perform, results, run
from widthwise.sweep.schedule import Status

__all__ = [
    "ENTRIES",
    "Entry",
    "Estimate",
    "Plan",
    "Run",
    "Status",
    "Sweep",
    "estimate",
    "perform",
    "read_plan",
    "results",
    "run",
]
