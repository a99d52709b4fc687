"""What the paper on pruning at initialization claims of its figures and tables, and of its theorems."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from widthwise.experiments.claims import Claim, Verdict, decided
from widthwise.experiments.common import spread_out
from widthwise.experiments.outcome import Row
from widthwise.experiments.robust_pruning.accuracies import RIVALS, ahead, cells
from widthwise.experiments.robust_pruning.magnitude import PRINTED

__all__ = ["CLAIMS"]

_CHANCE = 0.15
"""An accuracy on ten classes above which a network has learned something."""

_TRAINED = 0.4
_UNTRAINED = "the networks are far from trained, the best has {:.0%}"
"""Which trains fastest is then seen, not which ends best."""


def _neurons(rows: Sequence[Row]) -> Verdict:
    """Figure 1: layers without a weight in each phase."""
    dead = {phase: [r["kept"] for r in rows if r["phase"] == phase].count(0) for phase in spread_out(rows, "phase")}
    held = dead["edge of chaos"] == 0 < dead["chaotic"]
    ours = ", ".join(f"{phase} {count}" for phase, count in dead.items())
    return decided(held, f"layers without a weight: {ours}", "layers die on it, or none off it")


def _layers(rows: Sequence[Row]) -> Verdict:
    """Figures 2 and 4: layers lost at the highest sparsities, with BatchNorm as in the paper."""
    mine = [row for row in rows if row["network"] in ("ReLU", "tanh")]
    least = {(r["depth"], r["network"], r["method"]): r["critical_sparsity"] for r in mine}
    pairs = [(least[d, n, "SNIP"], least[d, n, "SBP-SR"]) for d, n, method in least if method == "SNIP"]
    larger = sum(stable > standard for standard, stable in pairs)
    standard, stable = pairs[0]
    ours = f"critical sparsity larger in {larger} of {len(pairs)} networks; in the first {stable:.3f} : {standard:.3f}"
    return decided(larger == len(pairs), ours, "not in all")


def _trains(rows: Sequence[Row]) -> Verdict:
    """Figures 3 and 5, Table 4: on the deepest networks, half pruned or more."""
    depth = max(row["depth"] for row in rows)
    deep = [row for row in rows if row["depth"] == depth and row["sparsity"] >= 0.5]
    rescaled, plain, ordered = (
        [row["test_accuracy"] for row in deep if row["scheme"] == scheme]
        for scheme in ("EOC + rescaling", "EOC", "ordered")
    )
    least = min(row["sparsity"] for row in deep)
    numbers = ", ".join("/".join(f"{100 * a:.0f}" for a in found) for found in (rescaled, plain, ordered))
    ours = f"depth {depth}, from {least:.0%} on: rescaled, EOC, ordered {numbers} %"
    if max(ordered) > _CHANCE or any(a <= b for a, b in zip(rescaled, plain, strict=True)):
        return Verdict(False, ours, "rescaling is not ahead at all sparsities")
    if min(rescaled) < _CHANCE:
        return Verdict(None, ours, "after so few steps the rescaled network is hardly above chance")
    return Verdict(True, ours)


def _leads(method: str, others: Sequence[str], networks: Sequence[str], rows: Sequence[Row]) -> Verdict:
    """One method against others that prune at initialization, in all cells of some networks."""
    found = cells([row for row in rows if row["network"] in networks])
    pairs = [(cell, other) for cell in found.values() for other in others if other in cell]
    won = sum(ahead(cell, method, other) for cell, other in pairs)
    lost = sum(ahead(cell, other, method) for cell, other in pairs)
    ours = f"{method} ahead in {won} of {len(pairs)} comparisons, behind in {lost}"
    if pairs and (best := max(mean for cell in found.values() for mean, _ in cell.values())) < _TRAINED:
        return Verdict(None, ours, _UNTRAINED.format(best))
    if not pairs:
        return Verdict(None, "–", f"{' and '.join(networks)} not run")
    if lost:
        return Verdict(False, ours, "behind in some by twice the standard error")
    return Verdict(True, ours) if won > len(pairs) / 2 else Verdict(None, ours, "most are too close to tell")


def _matrix(rows: Sequence[Row]) -> Verdict:
    """Table 6: whoever leads shall be the paper's."""
    known = [row for row in rows if row["paper"]]
    same = sum(row["winner"] == row["paper"] for row in known)
    other = [row for row in known if row["winner"] not in ("C", row["paper"])]
    ours = f"{same} of {len(known)} entries the same"
    if (best := max(row["accuracy"] for row in rows)) < _TRAINED:
        return Verdict(None, ours, _UNTRAINED.format(best))
    if other:
        named = ", ".join(f"{row['winner']} on {row['network']} at {row['sparsity']:.0%}" for row in other)
        return Verdict(False, ours, f"here {named} leads")
    return Verdict(True, ours) if known and same == len(known) else Verdict(None, ours, "too close to tell")


def _magnitude(rows: Sequence[Row]) -> Verdict:
    """Table 7: the paper's measured values against those of each reading."""
    found = {
        name: [row["measured"] for row in rows if row["setting"] == name and row["gamma"] in PRINTED]
        for name in spread_out(rows, "setting")
    }
    fits = any(max(abs(a - b) for a, b in zip(mine, PRINTED.values(), strict=True)) < 0.03 for mine in found.values())
    ours = "; ".join(f"{name}: " + ", ".join(f"{value:.2f}" for value in mine) for name, mine in found.items())
    return decided(fits, ours, "no reading gives the printed numbers, and the bound fails as printed")


def _bound(rows: Sequence[Row]) -> Verdict:
    """Theorem 1's bound in the ordered phase."""
    ordered = [row for row in rows if row["bound"] is not None]
    below = sum(row["mean"] <= row["bound"] for row in ordered)
    return decided(below == len(ordered), f"below the bound at {below} of {len(ordered)} points", "above at some")


def _growth(rows: Sequence[Row]) -> Verdict:
    """Theorem 2 and Proposition 2: quotients of measurement and theory over depth, for each network."""
    spreads = {}
    for stable in (False, True):
        for sigma in spread_out(rows, "sigma_w"):
            quotients = [r["over_theory"] for r in rows if (r["stable"], r["sigma_w"]) == (stable, sigma)]
            spreads[stable, sigma] = max(quotients) / min(quotients)
    worst = max(spreads.values())
    return decided(worst < 2.5, f"measured over theory is the same at all depths to a factor {worst:.2f}", "it is not")


def _signal(rows: Sequence[Row]) -> Verdict:
    """Algorithm 1 as printed: the growth a layer should be that of the unpruned network, 1 for ReLU."""
    rates = {r["method"]: r["growth"] for r in rows if (r["activation"], r["rule"]) == ("relu", "as printed")}
    held = all(abs(rate - 1) < 0.05 for rate in rates.values())
    ours = "ReLU, growth a layer: " + ", ".join(f"{method} {rate:.2f}" for method, rate in rates.items())
    return decided(held, ours, "the factor √2 is missing in Algorithm 1")


_GPU = "a GPU"
_SBP_SR = partial(_leads, "SBP-SR", RIVALS[:-2])
_SBP_SR_SNIP = partial(_leads, "SBP-SR", ("SNIP",), ("ResNet32", "ResNet50", "ResNet104"))
_RESCALED = partial(_leads, "EOC+rescaling", ("SNIP", "SynFlow"), ("3xVGG16",))
_SCHEMES = "deep and sparse networks train only on the edge of chaos with rescaling; in the ordered phase they do not"
_STABLE = "SNIP empties layers of a standard ResNet that it keeps in a stable one"
_TABLE_9 = "SBP-SR is ahead of SNIP for ReLU and tanh, most beyond 99 %"

CLAIMS = {
    "fig1": Claim("SNIP empties whole layers off the edge of chaos, none on it", "a drawing", _neurons, data="mnist"),
    "fig2": Claim(_STABLE, "a drawing", _layers, data="cifar10"),
    "fig3": Claim(f"tanh: {_SCHEMES}", "ordered untrainable beyond 40 %, depth 60", _trains, data="mnist"),
    "fig4": Claim(_STABLE, "drawings", _layers, data="cifar10"),
    "fig5": Claim(f"ELU: {_SCHEMES}", "drawings", _trains, data="mnist"),
    "table1": Claim(
        "SBP-SR is ahead of SNIP at every depth, most beyond 99 %",
        "at 99.9 % 51.6 : 10.0 (ResNet32), 58.8 : 20.0 (50), 72.7 : 10.1 (104)",
        _SBP_SR_SNIP,
        data="cifar10",
        needs=_GPU,
    ),
    "table2": Claim(
        "on ResNet104 SBP-SR leads the methods that prune at initialization",
        "ResNet104, 98 %: SBP-SR 92.1, SNIP 91.6, GraSP 91.2, SynFlow 91.0",
        partial(_SBP_SR, ("ResNet104",)),
        data="cifar10, cifar100",
        needs=_GPU,
    ),
    "table3": Claim(
        "SBP-SR leads on Tiny ImageNet, but for ResNet32",
        "ResNet104, 95 %: SBP-SR 57.9, GraSP 56.4, SynFlow 55.9, SNIP 54.9",
        partial(_SBP_SR, ("ResNet50", "ResNet104")),
        data="Tiny ImageNet",
        needs="data: Tiny ImageNet",
    ),
    "table4": Claim(
        f"convolutions: {_SCHEMES}", "depth 100: EOC + rescaling 99.15, EOC 10, ordered 10 %", _trains, data="mnist"
    ),
    "table5": Claim(
        "on 3xVGG16 rescaling is ahead of SNIP and SynFlow",
        "3xVGG16, 95 %: EOC+rescaling 93.4, SNIP 92.9, SynFlow 92.7",
        _RESCALED,
        data="cifar10",
        needs=_GPU,
    ),
    "table6": Claim("SBP-SR leads in most settings", "18 of 33 entries", _matrix, data="cifar10, cifar100", needs=_GPU),
    "table7": Claim("Proposition 4's bound is tight", "γ = 5, 10: 0.79, 0.69 below 0.81, 0.72", _magnitude),
    "table8": Claim(
        "SBP-SR leads on ImageNet",
        "95 %: SBP-SR 62.7, GraSP 62.1, SynFlow 62.1, SNIP 44.9",
        partial(_SBP_SR, ("ImageNet-ResNet50",)),
        data="ImageNet",
        needs="data: ImageNet",
    ),
    "table9": Claim(
        _TABLE_9, "tanh, 99.5 %: 75.0 : 10 (ResNet32), 80.1 : 10 (50)", _SBP_SR_SNIP, data="cifar10", needs=_GPU
    ),
    "table10": Claim(_TABLE_9, "the numbers of Table 9 again", _SBP_SR_SNIP, data="cifar10", needs=_GPU),
    "critical": Claim("Theorem 1 bounds the critical sparsity off the edge of chaos", "a bound", _bound, data="mnist"),
    "growth": Claim("scores grow as (1 + σ²/2)^L, in stable networks as 1/L", "Theorem 2, Proposition 2", _growth),
    "signal": Claim(
        "Algorithm 1 puts a pruned network back on the edge of chaos", "a growth of 1", _signal, data="mnist"
    ),
}
"""By name."""
