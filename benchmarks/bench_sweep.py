"""What sweeping costs: seconds a run beside the run itself, the gain of a second job, and listing many runs.

The workers' start is not counted: its time is printed by itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _timing import header

import widthwise.sweep
from widthwise.store import Store
from widthwise.sweep import Entry, Plan, Status
from widthwise.sweep.plan import KIND
from widthwise.sweep.run import STORE

HERE = Path(__file__)


def nothing(x: int) -> dict[str, int]:
    """A run that takes no time."""
    return {"y": x}


def work(x: int, seconds: float) -> dict[str, float]:
    """Keep a core busy for so long, in processor time."""
    began, total = time.process_time(), 0.0
    while time.process_time() - began < seconds:
        total += sum(i * i for i in range(1000))
    return {"y": total + x}


class Clock:
    """Notes when runs were done."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.at: list[tuple[int, float]] = []

    def __call__(self, status: Status) -> None:
        """Watch a sweep."""
        if not self.at or status.done > self.at[-1][0]:
            self.at.append((status.done, time.perf_counter() - self.began))

    def each(self, first: int) -> float:
        """Seconds a run took, from the ``first`` done to the last, the workers being up by then."""
        start = next(point for point in self.at if point[0] >= first)
        return (self.at[-1][1] - start[1]) / (self.at[-1][0] - start[0])


def swept(function: str, runs: int, jobs: int, first: int, **fixed: object) -> tuple[float, float]:
    """Seconds a run, and seconds until the ``first`` runs were done."""
    folder, clock = tempfile.mkdtemp(), Clock()
    try:
        plan = Plan(Entry(f"{HERE}:{function}"), fixed, {"x": range(runs)})
        widthwise.sweep.perform(plan, folder, jobs=jobs, threads=1, watch=clock)
    finally:
        shutil.rmtree(folder)
    return clock.each(first), next(at for done, at in clock.at if done >= first)


def overhead(runs: int) -> None:
    """Runs that take no time."""
    each, start = swept("nothing", runs, 1, 1)
    print(f"overhead of a run: {1000 * each:.2f} ms, mean of {runs} ({start:.1f} s to the first)")


def gain(rounds: int, runs: int, seconds: float) -> None:
    """Two jobs against one, in turn."""
    ratios = []
    for _ in range(rounds):
        one, two = (swept("work", runs, jobs, 2, seconds=seconds)[0] for jobs in (1, 2))
        ratios.append(one / two)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"two jobs against one, runs of {seconds:g} s: {statistics.median(ratios):.2f}x ({spread})")


def listing(runs: int) -> None:
    """Many stored runs: listed by the command, imports included, and by the function."""
    folder = Path(tempfile.mkdtemp())
    try:
        plan = Plan(Entry(f"{HERE}:nothing"), {}, {"x": range(runs)})
        with Store(folder / STORE) as store:
            store.put(KIND, [(run, {"y": run.arguments["x"]}) for run in plan.runs().values()])
        config = folder / "sweep.toml"
        config.write_text(f"run = {json.dumps(plan.entry.name)}\n[grid]\nx = {list(range(runs))}\n")
        command = [sys.executable, "-m", "widthwise", "sweep", str(config), "--out", str(folder)]
        for what, more in (("--list", ["--list"]), ("the same sweep again", ["--jobs", "1"])):
            began = time.perf_counter()
            found = subprocess.run([*command, *more], capture_output=True, check=True)
            print(f"{runs} stored runs, {what}: {time.perf_counter() - began:.2f} s, {found.stdout.count(b'{')} lines")
        began = time.perf_counter()
        rows = widthwise.sweep.results(folder)
        print(f"{len(rows)} stored runs, widthwise.sweep.results: {time.perf_counter() - began:.2f} s")
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="for the overhead")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=int, default=60, help="runs, for the gain")
    parser.add_argument("--seconds", type=float, default=0.5, help="each of them takes")
    parser.add_argument("--stored", type=int, default=10_000)
    chosen = parser.parse_args()
    header("sweeps")
    overhead(chosen.runs)
    gain(chosen.rounds, chosen.work, chosen.seconds)
    listing(chosen.stored)


if __name__ == "__main__":
    main()
