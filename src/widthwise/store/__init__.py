"""Finished runs in one SQLite file: written as they come, never twice, never half.

A run is a frozen dataclass; its content hash is its name. Running the same config again finds the result. Sweeps keep
here too which runs are being worked on and which have failed (:mod:`widthwise.sweep.claims`).
"""

from widthwise.store.naming import run_hash
from widthwise.store.runs import Store

__all__ = ["Store", "run_hash"]
