"""Long work does not grow, and large work stays within the memory that docs/numerics.md states."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "bench_long_and_large.py"
PAGE = (ROOT / "docs" / "numerics.md").read_text()
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")


def lines(part: str, **sizes: int) -> dict[str, list[float]]:
    """What the command prints: by what it is about, the numbers after the colon."""
    options = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--only", part, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for line in done.stdout.splitlines():
        head, _, tail = line.partition(": ")
        name = re.sub(r"( +\d\S*.*)$", "", head.removeprefix(part.rstrip("s") + " ")).strip()
        found[name] = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", tail)]
    return found


def stated() -> dict[str, float]:
    """Bytes a weight that pruning may take, by method, in the page."""
    return {name: float(most) for name, most in re.findall(r"^\| `(\w+)` \| (\d+) \|$", PAGE, re.MULTILINE)}


@needs_linux
@pytest.mark.slow
def test_a_hundred_thousand_steps_do_not_grow():
    found = lines("loops", steps=100_000)
    assert len(found) == 7
    for name, (early, late, python) in found.items():
        assert late - early < 8, f"{name}: {early} MB after a tenth, {late} MB at the end"
        assert python < 50, f"{name}: Python holds {python} kB more"


@needs_linux
@pytest.mark.slow
def test_pruning_a_hundred_million_weights_takes_no_more_than_stated():
    found = lines("prune", weights=10**8)
    assert found.keys() == stated().keys()
    for name, (each, *_) in found.items():
        assert each <= stated()[name], name


@needs_linux
@pytest.mark.slow
def test_a_mask_of_a_thousand_million_entries_is_read_lazily():
    found = lines("mask", entries=10**9)
    assert found.keys() == {"open", "one layer", "count", "report"}
    assert found["open"][0] < 5
    assert found["one layer"][0] < 150  # a layer of 100 million entries, a byte each
    assert found["count"][0] < 30
    assert found["report"][0] < 120
