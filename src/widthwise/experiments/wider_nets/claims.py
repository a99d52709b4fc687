"""What the paper on wider nets claims of its figures and of its table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

from widthwise.comparison.findings import paired_difference
from widthwise.experiments.claims import Claim, Verdict, decided
from widthwise.experiments.common import spread_out
from widthwise.experiments.outcome import Row
from widthwise.experiments.wider_nets.resnet import DENSE, IO, LINEAR, NONLINEAR, SPARSE

__all__ = ["CLAIMS"]

Gain = tuple[float, float]
"""A difference of accuracies, and the half-width of its 95 % interval over seeds."""


def _of(rows: Sequence[Row], method: str, base: int) -> list[Row]:
    return [row for row in rows if (row["method"], row["base"]) == (method, base)]


def _gains(rows: Sequence[Row], method: str, start: str = DENSE, key: str = "test") -> list[Gain]:
    """For each number of weights what the best wider network has over the narrowest."""
    found = []
    for base in spread_out(rows, "base"):
        narrow = [row for row in _of(rows, start, base) if row["width"] == base]
        wide = [row for row in _of(rows, method, base) if row["width"] > base]
        if narrow and wide:
            found.append(max(paired_difference(row[key], narrow[0][key]) for row in wide))
    return found


def _sure(gains: Sequence[Gain]) -> bool:
    return bool(gains) and all(gain > half for gain, half in gains)


def _shown(gains: Sequence[Gain]) -> str:
    spread = [f" ± {100 * half:.1f}" if math.isfinite(half) else "" for _, half in gains]
    return ", ".join(f"{100 * gain:+.1f}{half}" for (gain, _), half in zip(gains, spread, strict=True)) + " points"


def _widening(rows: Sequence[Row], key: str = "test") -> Verdict:
    """The best sparse network of each family against the dense one of as many weights."""
    gains = _gains(rows, SPARSE, key=key)
    ours = f"best wide over dense, by number of weights: {_shown(gains)}"
    if _sure(gains):
        return Verdict(True, ours)
    if any(gain < -half for gain, half in gains):
        return Verdict(False, ours, "every wider network of some family is worse")
    return Verdict(None, ours, "the seeds do not tell some families apart")


def _bottlenecks(rows: Sequence[Row]) -> Verdict:
    """Figure 3: widening helps linear bottlenecks against the layers split at full rank, non-linear ones hardly."""
    linear, nonlinear = _gains(rows, LINEAR, LINEAR), _gains(rows, NONLINEAR)
    ours = f"linear {_shown(linear)}; non-linear {_shown(nonlinear)}"
    if _sure(linear) and not _sure(nonlinear):
        return Verdict(True, ours)
    if _sure(nonlinear):
        return Verdict(False, ours, "non-linear ones gain, too")
    return Verdict(None, ours, "the seeds do not tell the gain of linear ones")


def _shares(rows: Sequence[Row]) -> Verdict:
    """Figure 7: the share of the dense network's gain that comes with width alone."""
    shares = [(row["share"], row["share_half_width"] or math.inf) for row in rows if row["share"] is not None]
    most = [share - half > 0.5 for share, half in shares]
    less = [share + half < 0.5 for share, half in shares]
    ours = "shares " + ", ".join(f"{share:.0%} ± {half:.0%}" for share, half in shares if math.isfinite(half))
    if any(less):
        return Verdict(False, ours, "less than half in some")
    return Verdict(True, ours) if most and all(most) else Verdict(None, ours, "most intervals hold a half")


def _kernels(rows: Sequence[Row]) -> Verdict:
    """Figure 9: weights removed one by one against whole kernels, at the same width."""
    pairs = [
        paired_difference(one["test"], whole["test"])
        for whole in rows
        if whole["method"] == IO
        for one in _of(rows, SPARSE, whole["base"])
        if one["width"] == whole["width"]
    ]
    ours = f"one by one over whole kernels: {_shown(pairs)}"
    if any(gain < -half for gain, half in pairs):
        return Verdict(False, ours, "whole kernels are better in some")
    known = all(math.isfinite(half) for _, half in pairs)
    return Verdict(True, ours) if known else Verdict(None, ours, "one seed has no interval")


def _grid(rows: Sequence[Row]) -> Verdict:
    """Figure 5: the best sparse network against the dense one, for each activation."""
    said, gains = [], []
    for activation in spread_out(rows, "activation"):
        dense, *others = [row for row in rows if row["activation"] == activation]
        best = max(others, key=lambda row: row["accuracy"])
        gains.append(best["accuracy"] - dense["accuracy"] > 2 * math.hypot(best["accuracy_std"], dense["accuracy_std"]))
        said.append(
            f"{activation} {best['accuracy']:.1%} at {best['connectivity']:.2g} (width {best['width']}), "
            f"dense {dense['accuracy']:.1%}"
        )
    return decided(all(gains), "; ".join(said), "no gain beyond the spread over seeds")


def _distances(rows: Sequence[Row]) -> Verdict:
    """Figure 8: whether the least measured distance is at a width as good as the best."""
    best = max(rows, key=lambda row: row["accuracy"])
    least = min(rows, key=lambda row: row["measured"])
    error = math.hypot(best["accuracy_std"], least["accuracy_std"]) / math.sqrt(len(best["accuracies"]))
    ours = f"best accuracy at width {best['width']}, least distance at {least['width']}"
    return decided(best["accuracy"] - least["accuracy"] <= 2 * error, ours, "they lie apart")


def _filled(rows: Sequence[Row]) -> Verdict:
    """Figure 4: layers are cut to one size, the largest first; it pays the odd weights, fewer than there are layers."""
    kept = [[(row["weights"], row[key]) for row in rows] for key in rows[0] if key.startswith("kept_of_")]
    even = all(abs(left - min(size, max(k for _, k in each))) < len(each) for each in kept for size, left in each)
    return decided(even, f"each layer keeps what it has or what the largest keep, in {len(kept)} cases", "not so")


def _layers(rows: Sequence[Row]) -> Verdict:
    """Figure 10: as many weights at every width, the larger a layer the fewer of its own."""
    totals, falls = set(), True
    for width in spread_out(rows, "width"):
        mine = sorted((row for row in rows if row["width"] == width), key=lambda row: row["weights"])
        totals.add(sum(row["kept"] for row in mine))
        falls &= all(a["connectivity"] >= b["connectivity"] - 1e-4 for a, b in itertools.pairwise(mine))
    ours = f"{', '.join(f'{total:,}' for total in sorted(totals))} weights at every width"
    return decided(len(totals) == 1 and falls, ours, "not the same, or not by size")


_IMAGES = "cifar10, cifar100, svhn"
_WIDER = "at one number of weights wider, sparser networks are better, up to a width"
_widens = partial(Claim, _WIDER, "curves only", _widening, data=_IMAGES, needs="a GPU")
_on_imagenet = partial(
    Claim, _WIDER, judge=_widening, data="ImageNet", stand_in_small="cifar10", needs="data: ImageNet"
)

CLAIMS = {
    "fig1": _widens(),
    "fig3": Claim(
        "widening improves linear bottlenecks, non-linear ones hardly",
        "curves only",
        _bottlenecks,
        data=_IMAGES,
        needs="a GPU",
    ),
    "fig4": Claim("the largest layers are cut first, to one size", "an illustration", _filled),
    "fig5": Claim(
        "sparse and wide is better than dense and narrow for ReLU and linear networks",
        "ReLU 96.3 % at 0.06 or 0.03 (width 80, 160), linear 92.7 % at 0.13 (width 40), dense about 90 %",
        _grid,
        data="mnist",
    ),
    "fig6": _widens(),
    "fig7": Claim(
        "most of a wide network's gain comes with width alone", "curves only", _shares, data=_IMAGES, needs="a GPU"
    ),
    "fig8": Claim(
        "kernel distance and test error are least at about one width", "curves only", _distances, data="mnist"
    ),
    "fig9": Claim(
        "removing weights one by one is as good as whole kernels, or better by up to 3 points",
        "curves only",
        _kernels,
        data=_IMAGES,
        needs="a GPU",
    ),
    "fig10": Claim("the larger a layer, the more of its weights are removed", "a drawing", _layers),
    "fig11": _widens(),
    "fig12": _widens(),
    "fig13": _on_imagenet("the gains of Table 1"),
    "fig14": Claim(
        "training accuracy rises with width at one number of weights, up to a width",
        "curves only",
        partial(_widening, key="train"),
        data=_IMAGES,
        needs="a GPU",
    ),
    "table1": _on_imagenet("dense 68.03 at width 64, sparse 69.56, 70.02, 70.66, 70.53 at 90, 128, 181, 256"),
}
"""By name."""
