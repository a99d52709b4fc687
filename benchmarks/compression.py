"""How fast the simplex is found to twelve digits, and what compressing a network takes.

First gradient descent on the limit objective, with the paper's 10^3 iterations and one step length for every M, against
L-BFGS from the same ten starts, interleaved. Of gradient descent's time, the part until all starts are within 1e-12
for good is given too. Then the time of :func:`widthwise.compression.compress` at several sizes.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from _timing import header, interleaved, ratio
from torch.nn import functional

from widthwise.compression import Descent, compress, etf_objective, gradient_descent, lbfgs, limit_energy

DIGITS, D, STARTS, ITERATIONS, STEP = 1e-12, 50, 10, 1000, 0.6


def unit(*shape: int) -> torch.Tensor:
    """Rows uniform on the sphere."""
    generator = torch.Generator().manual_seed(0)
    return functional.normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1)


def reached(found: Descent, M: int) -> int | None:
    """The iteration from which all starts stay within 1e-12 of R_ETF."""
    outside = ((etf_objective(M, "relu") + found.values).abs() > DIGITS).any(1).nonzero()
    last = int(outside.max()) if len(outside) else -1
    return None if last == len(found.values) - 1 else last + 1


def descent(rounds: int) -> None:
    """Both optimisers on the limit objective."""
    print(f"\nlimit objective, d = {D}, {STARTS} starts at once, to {DIGITS:g}")
    objective = limit_energy("relu")
    for M in (5, 10, 15, 20, 25, 30):
        starts, found = unit(STARTS, M, D), dict[str, Descent]()

        def slow(starts=starts, found=found) -> None:
            found["slow"] = gradient_descent(objective, starts, step=STEP, iterations=ITERATIONS)

        def fast(starts=starts, found=found) -> None:
            found["fast"] = lbfgs(objective, starts, tolerance=1e-7)

        seconds = interleaved({"slow": slow, "fast": fast}, rounds)
        at, quick = reached(found["slow"], M), reached(found["fast"], M)
        part = "not reached" if at is None else f"within 1e-12 after {at} of {ITERATIONS}"
        print(
            f"  M = {M:2}: gradient descent {statistics.median(seconds['slow']):.2f} s ({part}), L-BFGS "
            f"{statistics.median(seconds['fast']) * 1e3:.0f} ms ({quick} iterations): "
            f"{ratio(seconds['slow'], seconds['fast'])}"
            + (
                ""
                if at is None
                else f", to 1e-12 {ratio([s * at / ITERATIONS for s in seconds['slow']], seconds['fast'])}"
            )
        )


def networks(rounds: int) -> None:
    """Whole compressions."""
    print("\ncompress, ReLU, coefficients uniform on [0, 2]")
    for N, d, M in ((400, 30, 12), (1000, 50, 40), (4000, 100, 50)):
        W, a = unit(N, d), 2 * torch.rand(N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        losses: dict[str, float] = {}

        def run(method: str, W=W, a=a, M=M, losses=losses) -> None:
            losses[method] = compress(W, a, M, "relu", method=method).loss

        methods = ("optimal", "etf", "greedy", "kmeans")
        seconds = interleaved({m: lambda m=m, run=run: run(m) for m in methods}, rounds)
        shown = ", ".join(f"{m} {statistics.median(seconds[m]):.2f} s (loss {losses[m]:.2e})" for m in methods)
        print(f"  N = {N}, d = {d}, M = {M}: {shown}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    header("two-layer compression")
    descent(options.rounds)
    networks(options.rounds)
