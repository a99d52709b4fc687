"""What the paper on asymmetrical node scaling claims of its figures: one order of the settings, in everything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

from widthwise.experiments.claims import Claim, Verdict, decided
from widthwise.experiments.common import spread_out
from widthwise.experiments.outcome import Row

__all__ = ["CLAIMS"]

_FEW = 0.2
"""Of the nodes: the share at which pruning is looked at, down to one hundredth."""

_PUBLISHED = 50_000.0
"""Steps of the published Figures 1, 4 and 11; ours of Figure 1 goes on after them."""

_TRAINING = {"training_error": True, "training_loss": True, "largest_movement": True, "ntg_change": True}
_TRAINING |= {"smallest_eigenvalue": False}
_PRUNING = {"train_risk_growth": False, "pruned_loss_growth": False}
_TRANSFER = {"transfer_risk": False}
_NAMES = {
    "training_error": "training error",
    "training_loss": "training loss",
    "largest_movement": "movement",
    "ntg_change": "change of the NTG",
    "smallest_eigenvalue": "smallest eigenvalue",
    "train_risk": "training risk",
    "train_risk_growth": "growth of the risk",
    "pruned_loss_growth": "growth of the loss",
    "transfer_risk": "transfer risk",
}


def _places(axis: str, places: Sequence[float]) -> list[float]:
    """Where along an axis the order is looked at: the end of training, few nodes left, few features."""
    if axis == "steps":
        return [_PUBLISHED if _PUBLISHED in places else max(places)]
    if axis == "nodes left":
        return [place for place in places if 0.01 * max(places) <= place <= _FEW * max(places)]
    return sorted(places)[:2]


def _orders(rows: Sequence[Row]) -> dict[str, bool]:
    """Whether each quantity is in order from each setting to the next on average, by what it is and where."""
    found = {}
    for quantity, rising in (_TRAINING | _PRUNING | _TRANSFER).items():
        mine = [row for row in rows if row["quantity"] == quantity]
        for axis in spread_out(mine, "axis"):
            for place in _places(axis, spread_out(mine, "at")):
                means = [row["mean"] for row in mine if row["at"] == place]
                where = "" if axis == "steps" else f" at {place:g} {axis}"
                pairs = itertools.pairwise(means if rising else means[::-1])
                found[_NAMES[quantity] + where] = all(a < b for a, b in pairs)
    return found


def _ordered(rows: Sequence[Row]) -> Verdict:
    """All the orders expected, for each data set."""
    sets = spread_out(rows, "set") if "set" in rows[0] else [None]
    found: dict[str, bool] = {}
    for name in sets:
        mine = [row for row in rows if row.get("set") == name]
        found |= {f"{name}: {key}" if name else key: value for key, value in _orders(mine).items()}
    wrong = [name for name, right in found.items() if not right]
    ours = f"{len(found) - len(wrong)} of {len(found)} orders"
    return decided(not wrong, ours, f"not in order: {', '.join(wrong)}")


def _variance(rows: Sequence[Row]) -> Verdict:
    """The total variance measured against the sum of squares at that width, and that against the limit."""
    off = max(abs(row["measured"] / row["at_width"] - 1) for row in rows if row["measured"])
    return decided(off < 0.05, f"measured over C₀ Σ λ²: 1 to within {off:.1%}", "farther than 5 %")


def _theorems(rows: Sequence[Row]) -> Verdict:
    """Bounds hold, and expectations lie within five of their standard errors."""
    bounded = max(r["measured"] for r in rows if r["quantity"] == "movement over its bound" and r["gamma"] > 0)
    off = [abs(r["measured"] - r["theory"]) / r["error"] for r in rows if r["error"]]
    ours = f"movement at most {bounded:.2f} of its bound; {len(off)} expectations within {max(off):.1f} standard errors"
    return decided(bounded <= 1 and max(off) < 5, ours, "a bound or an expectation is missed")


def _kernel(rows: Sequence[Row]) -> Verdict:
    """The difference at gamma = 1 falls with the width."""
    lazy = [row["full"] for row in rows if row["gamma"] == 1]
    held = all(a > b for a, b in itertools.pairwise(lazy))
    return decided(held, f"difference {lazy[0]:.2g} falls to {lazy[-1]:.2g}", "it does not fall everywhere")


_ORDER = "smaller γ and α: more movement, slower training, less lost to pruning, better transfer of few features"
_ordered_on = partial(Claim, _ORDER, "curves only", _ordered)
_TABLE = "scikit-learn's diabetes set"

CLAIMS = {
    "fig1": Claim(
        "smaller γ and α: larger movement of weights and NTG, larger error, smaller least eigenvalue",
        "curves only",
        _ordered,
    ),
    "fig2": _ordered_on(data="concrete, energy", stand_in=_TABLE),
    "fig3": _ordered_on(data="mnist"),
    "fig4": _ordered_on(data="cifar10"),
    "fig5": Claim("the limit's total variance over C₀ is ζ(2/α)/ζ(1/α)²", "a formula", _variance),
    "fig6": _ordered_on(data="concrete", stand_in=_TABLE),
    "fig7": _ordered_on(data="energy", stand_in=_TABLE),
    "fig8": _ordered_on(data="airfoil", stand_in=_TABLE),
    "fig9": _ordered_on(data="plant", stand_in=_TABLE),
    "fig10": _ordered_on(data="mnist"),
    "fig11": _ordered_on(data="cifar10"),
    "theorems": Claim("Theorems 4.1 (c), 5.1 and 5.2 and the limit (11)", "formulas", _theorems),
    "kernel_limit": Claim("γ = 1 tends to regression with the kernel Θ* as m grows", "a limit", _kernel),
}
"""By name; ``agreement`` checks the solver, and is no claim of the paper."""
