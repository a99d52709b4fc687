"""Faults, one after another, on the jobs of this package: what holds afterwards, as a table and as JSON.

    python -m benchmarks.faults                                    everything, which takes hours
    python -m benchmarks.faults --kills 100 --only compare,prune   of these jobs
    python -m benchmarks.faults --faults kill,full --tries 5       these faults

After every fault the store must open, what was reported as finished must be there unchanged, no file under its final
name may be torn, temporary files must not pile up, no process may live on; and the next run must come to its end and
give what an undisturbed one gives. Disks are file systems in memory, which only root may mount.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads do not survive a fork

import argparse
import json
import math
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.faults.disks import can_mount, full, read_only
from benchmarks.faults.jobs import JOBS
from benchmarks.faults.others import can_set_clocks, clock, pairs
from benchmarks.faults.signals import impatience, interrupts, kills
from benchmarks.faults.tries import Count, Ground

from widthwise._atomic import write_text

FAULTS = {
    "kill": ("kill -9", kills),
    "int": ("SIGINT", interrupts),
    "int2": ("SIGINT twice", impatience),
    "full": ("full disk", full),
    "ro": ("read-only folder", read_only),
    "clock": ("clock set back", clock),
    "two": ("two at once", pairs),
}


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(JOBS), help="jobs, separated by commas")
    parser.add_argument("--faults", default=",".join(FAULTS), help="faults, separated by commas")
    parser.add_argument("--kills", type=int, default=100, help="kill -9 of each job")
    parser.add_argument("--tries", type=int, default=10, help="of each other fault")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of each fault on each job, at most")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--where", type=Path, default=_memory(), help="folder to work in, in memory by default")
    parser.add_argument("--json", type=Path, help="a file for what is counted")
    parser.add_argument("--act", nargs=2, metavar=("JOB", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.act:
        JOBS[chosen.act[0]].act(Path(chosen.act[1]))
        return
    faults = [name for name in chosen.faults.split(",") if possible(name)]
    counts: list[Count] = []
    for name in chosen.only.split(","):
        folder = Path(tempfile.mkdtemp(prefix="widthwise-faults-", dir=chosen.where))
        try:
            ground = Ground(JOBS[name], folder / name)
            for fault in faults:
                began = time.monotonic()
                tries = chosen.kills if fault == "kill" else chosen.tries
                counts.append(Count(FAULTS[fault][0], name, until=began + 60 * chosen.minutes))
                try:
                    FAULTS[fault][1](counts[-1], ground, tries, random.Random(f"{chosen.seed} {name} {fault}"))
                finally:  # stopped early, it tells how far it came
                    report(counts[-1], time.monotonic() - began)
                    if chosen.json is not None:
                        write_text(chosen.json, json.dumps([count.record() for count in counts], indent=1) + "\n")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if any(count.broke for count in counts):
        sys.exit(1)


def _memory() -> Path | None:
    """A file system in memory, where flushing is free; what a killed process leaves is the same on any."""
    place = Path("/dev/shm")
    return place if place.is_dir() else None


def possible(fault: str) -> bool:
    """Whether a fault can be made here; says so if not."""
    with tempfile.TemporaryDirectory() as folder:
        can = {"full": lambda: can_mount(Path(folder)), "ro": lambda: can_mount(Path(folder)), "clock": can_set_clocks}
        if fault not in can or can[fault]():
            return True
    print(f"{fault}: cannot be made here")
    return False


def report(count: Count, seconds: float) -> None:
    """A row, and what broke."""
    row = f"{count.fault:18} {count.job:14} {count.tries:4} tries {count.held:4} held   {seconds:5.0f} s  {count.note}"
    print(row, flush=True)
    for what, times in count.broke.items():
        print(f"  {times} x {what}", flush=True)


if __name__ == "__main__":
    main()
