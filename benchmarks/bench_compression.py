"""How fast the simplex is found to twelve digits, and what compressing a network takes.

First gradient descent on the limit objective, with the paper's 10^3 iterations and one step length for every M, against
L-BFGS from the same ten starts, interleaved. L-BFGS runs until it stops by itself, with every start within 1e-12 of
R_ETF; of gradient descent's time, the part until all its starts are there for good is given too. Then the time of
:func:`widthwise.compression.compress` at several sizes.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from _timing import header, interleaved, ratio

from widthwise.compression import Descent, compress, gradient_descent, lbfgs, limit_energy
from widthwise.experiments.two_layer_compression.common import generator, random_target, unit
from widthwise.experiments.two_layer_compression.descent import DIGITS, STEP, error, iterations_to

D, STARTS, ITERATIONS = 50, 10, 1000
METHODS = ("optimal", "etf", "greedy", "kmeans")


def descent(rounds: int) -> None:
    """Both optimisers on the limit objective."""
    print(f"\nlimit objective, d = {D}, {STARTS} starts at once, within {DIGITS:g} of R_ETF")
    objective = limit_energy("relu")
    totals = {name: [0.0] * rounds for name in ("slow", "reached", "fast")}
    for M in (5, 10, 15, 20, 25, 30):
        starts, found = unit(STARTS, M, D, source=generator(0)), dict[str, Descent]()

        def slow(starts=starts, found=found) -> None:
            found["slow"] = gradient_descent(objective, starts, step=STEP, iterations=ITERATIONS)

        def fast(starts=starts, found=found) -> None:
            found["fast"] = lbfgs(objective, starts, tolerance=3e-8)

        seconds = interleaved({"slow": slow, "fast": fast}, rounds)
        at, quick = (iterations_to(error(found[name], M), DIGITS) for name in ("slow", "fast"))
        assert at is not None, f"gradient descent has not reached {DIGITS} at M = {M}"
        assert quick is not None, f"L-BFGS has not reached {DIGITS} at M = {M}"
        seconds["reached"] = [s * at / ITERATIONS for s in seconds["slow"]]
        totals = {name: [a + b for a, b in zip(totals[name], seconds[name], strict=True)] for name in totals}
        print(
            f"  M = {M:2}: gradient descent {statistics.median(seconds['slow']):.2f} s, there after {at} steps; "
            f"L-BFGS {statistics.median(seconds['fast']) * 1e3:.0f} ms, {quick} iterations: "
            f"{ratio(seconds['slow'], seconds['fast'])}, until there {ratio(seconds['reached'], seconds['fast'])}"
        )
    print(f"  all M: {ratio(totals['slow'], totals['fast'])}, until there {ratio(totals['reached'], totals['fast'])}")


def networks(rounds: int) -> None:
    """Whole compressions."""
    print("\ncompress, ReLU, coefficients uniform on [0, 2]")
    for N, d, M in ((400, 30, 12), (1000, 50, 40), (4000, 100, 50)):
        target = random_target(N, d, 0)
        losses: dict[str, float] = {}

        def run(method: str, target=target, M=M, losses=losses) -> None:
            losses[method] = compress(target.W, target.a, M, "relu", method=method).loss

        seconds = interleaved({m: lambda m=m, run=run: run(m) for m in METHODS}, rounds)
        shown = ", ".join(f"{m} {statistics.median(seconds[m]):.2f} s (loss {losses[m]:.2e})" for m in METHODS)
        print(f"  N = {N}, d = {d}, M = {M}: {shown}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    header("two-layer compression")
    descent(options.rounds)
    networks(options.rounds)
