"""What the paper on linearized difference networks claims of its figures and of the table of section 9.3."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean

from widthwise.experiments.claims import Claim, Verdict, decided
from widthwise.experiments.common import spread_out
from widthwise.experiments.linearized_difference_networks.spectrum import ALL_ROWS, PRINTED
from widthwise.experiments.outcome import Row

__all__ = ["CLAIMS"]

_NEARLY = 0.9


def _nearer(rows: Sequence[Row]) -> Verdict:
    """Figures 1 and 2: the runs in which the linearized difference network is nearer to the limit."""
    both = [row for row in rows if row["vanilla"] is not None]
    behind = [row for row in both if row["linearized"] >= row["vanilla"]]
    ours = f"nearer in {len(both) - len(behind)} of {len(both)} runs"
    widths, scales = ((f"{value:g}" for value in spread_out(behind, key)) for key in ("width", "scale"))
    otherwise = f"farther at widths {', '.join(widths)} for targets of scale {', '.join(scales)}"
    return decided(len(behind) <= (1 - _NEARLY) * len(both), ours, otherwise)


def _rounding(rows: Sequence[Row]) -> Verdict:
    """Figure 3: the distance from J dtheta falls with eps, and rises again for the smallest."""
    found = {}
    for activation in spread_out(rows, "activation"):
        mine = [row for row in rows if row["activation"] == activation]
        error = {eps: fmean(r["error"] for r in mine if r["eps"] == eps) for eps in spread_out(mine, "eps")}
        best = min(error, key=lambda eps: error[eps])
        found[activation] = best, error[min(error)] / error[best]
    ours = "; ".join(f"{name}: least at {best:g}, {worse:.0f}-fold at the end" for name, (best, worse) in found.items())
    return decided(all(worse > 10 for _, worse in found.values()), ours, "no rounding seen")


def _dual(key: str, rows: Sequence[Row]) -> Verdict:
    """Figures 4 and 5: numerical integration against the closed forms there are."""
    known = [row for row in rows if row["closed_form"] is not None]
    worst = max(abs(row[key] - row["closed_form"]) for row in known)
    size = max(abs(row[key]) for row in known)
    curves = len({(row["activation"], row["k"]) for row in rows})
    return decided(worst < 1e-4 * size, f"{curves} curves, off a closed form by at most {worst / size:.0e}", "farther")


def _spectrum(rows: Sequence[Row]) -> Verdict:
    """Section 9.3: the largest eigenvalue of all rows, and the smallest where all rows were factored."""
    of = "cifar" if rows[0]["features"] == 3072 else "mnist"
    wrong, least = [], []
    for row in rows:
        largest, smallest = PRINTED[of][row["preparation"].removesuffix("-centred")]
        if abs(row["largest_of_all"] / largest - 1) > 1e-4:
            wrong.append(f"‖X‖² {row['preparation']} is {row['largest_of_all']:.4g}")
        if row["rows"] == ALL_ROWS[of]:
            least.append(row["preparation"])
            if abs(row["smallest"] / smallest - 1) > 0.01:
                wrong.append(f"smallest eigenvalue {row['preparation']} is {row['smallest']:.4g}")
    same = [f"{row['largest_of_all']:.6g}" for row in rows if row["preparation"] in ("normalized", "zero-mean")]
    ours = f"‖X‖² {', '.join(dict.fromkeys(same))}; smallest eigenvalue of all rows: {', '.join(least) or 'not run'}"
    if wrong:
        return Verdict(False, ours, "; ".join(wrong))
    return Verdict(True, ours) if least else Verdict(None, ours, "the smallest eigenvalues need all rows")


_NEARER = "the linearized difference network is nearer to the limit than an ordinary one, nearly everywhere"

CLAIMS = {
    "fig1": Claim(f"erf: {_NEARER}", "curves only", _nearer, data="mnist"),
    "fig2": Claim(f"ReLU: {_NEARER}", "curves only", _nearer, data="mnist"),
    "fig3": Claim("a difference network with small targets fails by rounding", "curves only", _rounding, data="mnist"),
    "fig4": Claim("f of common activations and scales", "curves only", partial(_dual, "f")),
    "fig5": Claim("g of common activations and scales", "curves only", partial(_dual, "g")),
    "table1": Claim(
        "‖X‖² and the smallest eigenvalue of MNIST",
        "; ".join(f"{how} {largest:g}, {smallest:g}" for how, (largest, smallest) in PRINTED["mnist"].items()),
        _spectrum,
        data="mnist",
    ),
}
"""By name."""
