"""What the formulas for a sparse kernel's distance from its infinite-width limit are worth.

Prints the tables of docs/kernel-distance.md: the three ways to Theorem 1 against each other, the closed forms against
Theorem 1 on Gaussian inputs, and all of them against networks drawn on real data.

    python benchmarks/distance_formulas.py [folder of MNIST's idx files]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from widthwise import data
from widthwise.kernels import (
    distance,
    distance_approx,
    distance_approx_diagonal,
    distance_gaussian,
    random_pairs,
    sampled_distance,
)

console = Console(width=160)


def main() -> None:
    """Print every table."""
    torch.set_num_threads(1)
    start = time.process_time()
    print_methods()
    print_closed_forms()
    digits = data.load("digits")
    print_on_data(
        "digits, 444 weights", standardised(digits.x, digits.x), [6, 9, 13, 18, 24, 30, 36, 42], 444, draws=50
    )
    print_depths("digits", standardised(digits.x, digits.x), budget=1200)
    if len(sys.argv) > 1:
        mnist = data.load(Path(sys.argv[1]))
        assert mnist.test is not None
        x = standardised(mnist.x, mnist.test[0])
        print_on_data("MNIST test images, 6352 weights", x, [8, 32, 128, 216, 328, 512, 635], 6352, draws=10)
    console.print(f"{time.process_time() - start:.0f} s of one core")


def standardised(train: Tensor, x: Tensor) -> Tensor:
    """``x`` less the mean and over the deviation of each pixel of ``train``; constant pixels become 0."""
    train, x = train.flatten(1), x.flatten(1)
    spread = train.std(0)
    return torch.where(spread > 0, (x - train.mean(0)) / torch.where(spread > 0, spread, 1), 0)


def print_methods() -> None:
    """Relative errors, actual and claimed, against enumeration at d = 16 and 100 Gaussian pairs."""
    table = Table(
        "p",
        "n",
        "quadrature: error",
        "claimed",
        "sampling: error",
        "claimed",
        title="Theorem 1, d = 16",
        box=box.MARKDOWN,
    )
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 100, 16, generator=generator, dtype=torch.float64)
    for p in (0.9, 0.5, 0.25, 0.1, 0.02):
        for n in (8, 1000):
            truth = distance(x, y, n, p, "enumerate").value
            row = [f"{p:g}", str(n)]
            for method in ("quadrature", "sample"):
                found = distance(x, y, n, p, method)
                row += [percent((found.value - truth).abs().mean() / truth.mean())]
                row += [percent(found.error.mean() / truth.mean())]
            table.add_row(*row)
    console.print(table)


def print_closed_forms() -> None:
    """Closed forms beside the mean of Theorem 1 over 1000 Gaussian pairs."""
    names = ("d", "p", "n", "d p", "Theorem 1", "bias", "gaussian", "(4)", "diagonal: Theorem 1", "gaussian", "(24)")
    table = Table(*names, title="Gaussian inputs", box=box.MARKDOWN)
    generator = torch.Generator().manual_seed(0)
    for d, p, n in ((784, 0.3, 64), (784, 0.05, 160), (784, 0.0126, 635), (784, 0.0026, 3077), (64, 0.1, 80)):
        x, y = torch.randn(2, 1000, d, generator=generator)
        off, own = distance(x, y, n, p), distance(x, x, n, p)
        row = [f"{off.value.mean():.3e}", f"{off.bias.mean():.0e}", f"{distance_gaussian(d, n, p):.3e}"]
        row += [f"{distance_approx(d, n, p):.3e}", f"{own.value.mean():.3e}"]
        row += [f"{distance_gaussian(d, n, p, diagonal=True):.3e}", f"{distance_approx_diagonal(d, n, p):.3e}"]
        table.add_row(str(d), f"{p:g}", str(n), f"{d * p:.1f}", *row)
    console.print(table)


def print_on_data(title: str, x: Tensor, widths: list[int], budget: int, draws: int, outputs: int = 10) -> None:
    """Mean squared distance over 5000 pairs of rows: of ``draws`` networks a width, and foretold.

    "pairs" is the standard error of Theorem 1's mean that comes from the choice of pairs. "equal norms" is Theorem 1 on
    1000 of the pairs with every row scaled to the norm of a Gaussian one.
    """
    foretold = ("Theorem 1", "bias", "pairs", "by", "equal norms", "gaussian", "(4)")
    table = Table("width", "p", "d p", "measured", "relative", *foretold, box=box.MARKDOWN)
    table.title = f"{title}, {draws} networks a width"
    d, pairs = x.shape[1], 5_000
    i, j = random_pairs(len(x), pairs)
    equal = x / x.norm(dim=1, keepdim=True) * d**0.5
    moved: list[float] = []
    curves: dict[str, list[float]] = {name: [] for name in ("measured", "Theorem 1", "equal norms", "gaussian", "(4)")}
    for n in widths:
        weights = budget - outputs * n
        p = weights / (n * d)
        drawn = sampled_distance(x, n, weights=weights, pairs=pairs, draws=draws)
        exact = distance(x[i], x[j], n, p, masks=1024)
        scaled = distance(equal[i[:1000]], equal[j[:1000]], n, p, masks=1024).value
        moved.append(float(standard_error(scaled)))
        values = (
            drawn.value,
            float(exact.value.mean()),
            float(scaled.mean()),
            distance_gaussian(d, n, p),
            distance_approx(d, n, p),
        )
        for curve, value in zip(curves.values(), values, strict=True):
            curve.append(value)
        row = [str(n), f"{p:.2g}", f"{d * p:.2g}", f"{values[0]:.3g}±{drawn.error:.1g}", f"{drawn.relative:.3g}"]
        row += [f"{values[1]:.3g}±{exact.error.mean():.1g}", f"{exact.bias.mean():.1g}"]
        row += [percent(standard_error(exact.value)), exact.method]
        table.add_row(*row, *(f"{value:.3g}" for value in values[2:]))
    console.print(table)
    best = {name: widths[curve.index(min(curve))] for name, curve in curves.items()}
    console.print("least at width: " + ", ".join(f"{name} {n}" for name, n in best.items()))
    console.print(f"with equal norms the standard error from the choice of 1000 pairs is at most {max(moved):.1%}")
    console.print(f"the 1 % of pairs with the largest |x| |y| carry {share_of_largest(x[i], x[j]):.0%} of the scale\n")


def print_depths(title: str, x: Tensor, budget: int) -> None:
    """Relative distance of deep ReLU networks, drawn: hidden layers of one connectivity, rows of one norm."""
    widths, depths, draws = [12, 24, 48, 96, 192, 384], [1, 2, 3], 100
    equal, d = x / x.norm(dim=1, keepdim=True) * x.shape[1] ** 0.5, x.shape[1]
    table = Table("width", *(f"{depth} hidden" for depth in depths), box=box.MARKDOWN)
    table.title = f"{title}, at most {budget} weights in hidden layers, {draws} networks each"
    for n in widths:
        row = []
        for depth in depths:
            total = n * d + (depth - 1) * n * n
            p = min(1.0, budget / total)
            found = sampled_distance(equal, n, p, depth=depth, sigma_w=2**0.5, pairs=2000, draws=draws)
            row.append(f"{found.relative:.3g}±{found.error / found.scale:.1g} (p {p:.2g})")
        table.add_row(str(n), *row)
    console.print(table)


def share_of_largest(x: Tensor, y: Tensor) -> float:
    """Share of the largest percent of pairs in the sum of (|x| |y|)**2, with which the squared kernel grows."""
    weight = (x.norm(dim=1) * y.norm(dim=1)).double().square()
    return float(weight.topk(len(weight) // 100).values.sum() / weight.sum())


def standard_error(values: Tensor) -> Tensor:
    """Of the mean of ``values``, over that mean."""
    return values.std() / len(values) ** 0.5 / values.mean()


def percent(value: Tensor) -> str:
    """``value`` as a percentage."""
    return f"{100 * float(value):.2g} %"


if __name__ == "__main__":
    main()
