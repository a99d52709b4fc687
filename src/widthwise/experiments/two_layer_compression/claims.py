"""What the paper on the compression of two-layer networks claims of its figures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from widthwise.experiments.claims import Claim, Verdict, decided
from widthwise.experiments.common import spread_out
from widthwise.experiments.outcome import Row
from widthwise.experiments.two_layer_compression.descent import DIGITS

__all__ = ["CLAIMS"]

_ROUNDING = 1e-12
_FALLEN = 1e-6


def _values(rows: Sequence[Row]) -> Verdict:
    """Figure 2: the largest distance of gradient descent from R_ETF."""
    worst = max(row["gd_error"] for row in rows)
    return decided(worst <= DIGITS, f"the same to within {worst:.0e} for M = {_range(rows)}", "farther than 1e-12")


def _falls(rows: Sequence[Row]) -> Verdict:
    """Figure 3: the curves fall without a rise, and later for larger M."""
    reached: list[float] = []
    for M in spread_out(rows, "M"):
        curve = [(row["iteration"], row["greatest"]) for row in rows if row["M"] == M]
        if any(b > max(a, _ROUNDING) for (_, a), (_, b) in itertools.pairwise(curve)):
            return Verdict(False, f"M = {M} rises", "not steady")
        reached.append(next((i for i, value in curve if value < _FALLEN), float("inf")))
    later = all(a < b for a, b in itertools.pairwise(reached))
    ours = "below 1e-6 after " + ", ".join(f"{i:g}" for i in reached) + f" iterations for M = {_range(rows)}"
    return decided(later, ours, "not slower for larger M")


def _closes(rows: Sequence[Row]) -> Verdict:
    """Figure 4: every start ends at R_ETF."""
    last = max(row["iteration"] for row in rows)
    ends = [max(abs(row["short_least"]), abs(row["short_most"])) for row in rows if row["iteration"] == last]
    return decided(max(ends) < DIGITS, f"all starts within {max(ends):.0e} of R_ETF", "the band stays open")


def _range(rows: Sequence[Row]) -> str:
    sizes = spread_out(rows, "M")
    return f"{sizes[0]} to {sizes[-1]}"


CLAIMS = {
    "fig2": Claim(
        "gradient descent on the limit objective ends at R_ETF",
        "the same to the 12th decimal for M = 5 to 30; R_ETF 5.515 at M = 5, 6.162 at M = 30",
        _values,
    ),
    "fig3": Claim("the distance from the simplex falls steadily, more slowly for larger M", "curves only", _falls),
    "fig4": Claim("the band over ten starts closes on R_ETF", "curves only", _closes),
}
"""By name; the other experiments go past the paper's figures."""
