"""What a paper claims of a figure or a table, and how measured rows are held against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from widthwise import data as datasets
from widthwise.experiments.outcome import Row

__all__ = ["Claim", "Verdict", "decided", "judged", "sentence", "substitute_for"]


@dataclass(frozen=True)
class Verdict:
    """Whether a claim held.

    Attributes:
        held: ``None`` where it cannot be told.
        ours: what was measured, in brief.
        why: the claim did not hold, or cannot be told.
    """

    held: bool | None
    ours: str
    why: str = ""

    @property
    def word(self) -> str:
        """Of a sentence."""
        return {True: "held", False: "did not hold", None: "undetermined"}[self.held]


def decided(held: bool, ours: str, otherwise: str) -> Verdict:
    """A verdict that gives a reason only where the claim did not hold."""
    return Verdict(held, ours, "" if held else otherwise)


@dataclass(frozen=True)
class Claim:
    """What a paper says of one of its figures or tables.

    Attributes:
        text: the claim, a clause.
        theirs: the paper's own numbers, in brief.
        judge: from rows, as the JSON file of a run holds them, to a verdict.
        data: the paper's data sets, by their names in :func:`widthwise.data.load` if they have one; empty if none.
        stand_in: what serves at scale ``"smoke"`` where no data are given.
        stand_in_small: what serves at ``"small"``, where that is not the paper's data set by design.
        needs: what a run of the paper's sizes needs that two cores have not: ``"a GPU"``, ``"data: Tiny ImageNet"``.
    """

    text: str
    theirs: str
    judge: Callable[[Sequence[Row]], Verdict]
    data: str = ""
    stand_in: str = "digits"
    stand_in_small: str = ""
    needs: str = ""


def substitute_for(claim: Claim | None, scale: str, data: Any) -> str | None:
    """What stands in for the paper's data: another set by its name or path, or none given at smoke scale.

    Example:
        >>> claim = Claim("", "", lambda rows: Verdict(None, ""), data="mnist")
        >>> [substitute_for(claim, "small", data) for data in (None, "data/mnist", "data/cifar-10", "digits")]
        [None, None, 'cifar10', 'digits']
        >>> substitute_for(claim, "smoke", None)
        'digits'
    """
    if claim is None or not claim.data:
        return None
    if scale == "small" and claim.stand_in_small:
        return claim.stand_in_small
    if data is None:
        return claim.stand_in if scale == "smoke" else None
    named = _named(str(data))
    return named[0] if named and not set(named) & set(claim.data.split(", ")) else None


def _named(path: str) -> list[str]:
    """The known data sets that a name or a path names, not those that are part of another's name."""
    text = re.sub(r"[-_ ]", "", path.lower())
    found = [name for name in datasets.names() if name.replace("-", "") in text]
    return [name for name in found if not any(name != other and name in other for other in found)]


def judged(claim: Claim, record: Mapping[str, Any]) -> Verdict:
    """The verdict on a run, from its JSON file; sizes of a smoke test and substitute data decide nothing."""
    found = claim.judge(record["rows"])
    substitute = record.get("substitute") or substitute_for(claim, record["scale"], "")
    if substitute:
        return Verdict(None, found.ours, f"substitute data, {substitute} for {claim.data}")
    if record["scale"] == "smoke":
        return Verdict(None, found.ours, "sizes of a smoke test")
    return found


def sentence(claim: Claim, verdict: Verdict) -> str:
    """One line: the claim, whether it held, ours beside theirs."""
    why = f": {verdict.why}" if verdict.why else ""
    return f"claim: {claim.text}: {verdict.word}{why} (ours: {verdict.ours}; the paper: {claim.theirs})"
