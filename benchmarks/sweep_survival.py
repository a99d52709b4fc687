"""What a sweep survives: a lost node of two, and a driver killed again and again. Prints what was counted.

    python benchmarks/sweep_survival.py node      two Ray nodes on this machine, one killed in the middle
    python benchmarks/sweep_survival.py driver    kill -9 on the driver ten times at random moments
    python benchmarks/sweep_survival.py driver --ray    the same on a Ray cluster

Every execution of a run leaves a line in a file, so that what was executed can be held against what was stored.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import widthwise.sweep
from widthwise.sweep.run import STORE

SMALL = ("--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats", "--node-ip-address=127.0.0.1")


def noted(x: int, log: str, seconds: float) -> dict[str, int]:
    """Take a while, then leave a line: which run, under which raylet."""
    if seconds:
        time.sleep(seconds)
    with Path(log).open("a") as file:
        file.write(f"{x} {os.getppid()}\n")
    return {"y": x + 1}


def drive(folder: Path, runs: int, seconds: float, ray: str | None) -> None:
    """What a driver does."""
    fixed = {"log": str(folder / "log"), "seconds": seconds}
    jobs = 2 if ray is None else None
    widthwise.sweep.run(noted, {"x": range(runs)}, fixed=fixed, out=folder, jobs=jobs, ray=ray, threads=1)


def executions(folder: Path) -> list[list[str]]:
    """Run and raylet of each line."""
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def stored(folder: Path) -> list[int]:
    """The run of every row in the store."""
    return [row["x"] for row in widthwise.sweep.results(folder)] if (folder / STORE).exists() else []


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A cluster of two raylets on this machine; gives its address and the second one."""
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))  # this cluster's own
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    head = node("--head", f"--port={address.partition(':')[2]}", "--include-dashboard=false")
    try:
        second = node(f"--address={address}")
        try:
            yield address, second
        finally:
            kill(second)
    finally:
        kill(head)


def node(*arguments: str) -> subprocess.Popen[str]:
    """Start a raylet in a process group of its own, and wait until it is up."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *SMALL, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    said = []
    for line in process.stdout or ():
        said.append(line)
        if "Ray runtime started" in line:
            return process
    kill(process)
    raise SystemExit("".join(["a node did not start\n", *said]))


def kill(process: subprocess.Popen[str]) -> None:
    """End a node as a power cut would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def driver(folder: Path, runs: int, seconds: float, ray: str | None) -> subprocess.Popen[bytes]:
    """A driver in a process of its own."""
    command = [sys.executable, __file__, "drive", str(folder), "--runs", str(runs), "--seconds", str(seconds)]
    return subprocess.Popen(command + ([] if ray is None else ["--address", ray]))


def lose_a_node(folder: Path, runs: int, seconds: float) -> None:
    """Two nodes, one killed when a third of the runs is done."""
    with two_nodes() as (address, second):
        process = driver(folder, runs, seconds, address)
        while len(stored(folder)) < runs // 3 or len({raylet for _, raylet in executions(folder)}) < 2:
            if process.poll() is not None:
                raise SystemExit("the sweep ended before both nodes had worked")
            time.sleep(0.1)
        before = len(stored(folder))
        kill(second)
        code = process.wait()
    by_node = Counter(raylet for _, raylet in executions(folder))
    print(f"two Ray nodes, one killed with {before} of {runs} runs stored; the sweep ended with exit code {code}")
    print(f"  executions by node: {' and '.join(map(str, sorted(by_node.values(), reverse=True)))}")
    conclude(folder, runs)


def lose_the_driver(folder: Path, runs: int, seconds: float, kills: int, on_ray: bool) -> None:
    """Kill the driver at random moments, then let it end."""
    draw, repeated, at = random.Random(0), 0, []
    with two_nodes() if on_ray else contextlib.nullcontext((None, None)) as (address, _):
        for _ in range(kills):
            there, lines = stored(folder), len(executions(folder))
            process = driver(folder, runs, seconds, address)
            while process.poll() is None and len(executions(folder)) == lines:
                time.sleep(0.05)
            time.sleep(draw.uniform(0, runs * seconds / 2 / kills))
            process.kill()
            process.wait()
            repeated += len(set(there) & {int(x) for x, _ in executions(folder)[lines:]})
            at.append(len(stored(folder)))
        code = driver(folder, runs, seconds, address).wait()
    print(
        f"driver killed {kills} times{' on Ray' if on_ray else ''}, with so many runs stored: {', '.join(map(str, at))}"
    )
    print(f"  then the same command ended with exit code {code}; finished runs executed again: {repeated}")
    conclude(folder, runs)


def conclude(folder: Path, runs: int) -> None:
    """Hold the store against what was asked for, and against what was executed."""
    times = Counter(stored(folder))
    once = sum(count == 1 for count in times.values())
    lines = [int(x) for x, _ in executions(folder)]
    print(f"  {runs} runs, {once} in the store exactly once, {len(lines)} executions of {len(set(lines))} runs")
    if times != Counter(range(runs)) or set(lines) != set(range(runs)):
        raise SystemExit("a run is missing or there twice")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("node", "driver", "drive"))
    parser.add_argument("folder", nargs="?", type=Path, help="of the store, for drive")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.2, help="each run takes")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--address")
    chosen = parser.parse_args()
    if chosen.what == "drive":
        drive(chosen.folder, chosen.runs, chosen.seconds, chosen.address)
        return
    folder = Path(tempfile.mkdtemp(prefix="widthwise-sweep-"))
    try:
        if chosen.what == "node":
            lose_a_node(folder, chosen.runs, chosen.seconds)
        else:
            lose_the_driver(folder, chosen.runs, chosen.seconds, chosen.kills, chosen.ray)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
