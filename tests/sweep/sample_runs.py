"""Functions that the tests sweep over, and a driver to be killed: ``python sample_runs.py OUT N SECONDS [RAY]``."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch

from widthwise.executor import tell


def square(x: float, seed: int = 0) -> dict:
    return {"y": x * x + seed}


def noted(x: int, log: str, seconds: float = 0.0) -> dict:
    """Leave a line for every execution."""
    time.sleep(seconds)
    with Path(log).open("a") as file:
        file.write(f"{x}\n")
    return {"y": x + 1}


def failing(x: int, log: str, until: int) -> dict:
    """Fail until executed so many times."""
    noted(x, log)
    if x == 1 and Path(log).read_text().split().count("1") < until:
        raise ArithmeticError(f"no luck with {x}")
    return {"y": x}


def killed(x: int, log: str, until: int) -> dict:
    noted(x, log)
    if x == 1 and Path(log).read_text().split().count("1") < until:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"y": x}


def threads() -> dict:
    from threadpoolctl import threadpool_info

    most = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return {"torch": torch.get_num_threads(), "most": most, "said": os.environ["OMP_NUM_THREADS"]}


def telling(n: int) -> str:
    for i in range(n):
        tell(i)
    return "told"


def odd(what: str) -> object:
    return {
        "list": [1],
        "nested": {"a": {"b": 1}},
        "values": {"tensor": torch.tensor(2.0), "nan": float("nan"), "text": "a", "flag": True, "none": None},
    }[what]


if __name__ == "__main__":
    import widthwise.sweep

    out, count, seconds, *ray = sys.argv[1:]
    widthwise.sweep.run(
        noted,
        {"x": range(int(count))},
        fixed={"log": f"{out}/log", "seconds": float(seconds)},
        out=out,
        jobs=1 if float(seconds) < 0.1 else 2,
        ray=ray[0] if ray else None,
        threads=1,
    )
