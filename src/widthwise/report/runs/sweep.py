"""A store of runs as a part of a report: what matters in it, and every run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from widthwise.errors import InputError
from widthwise.report.figure import drawn, figure
from widthwise.report.markup import Place, downloads, element, items, section, text
from widthwise.report.part import Part
from widthwise.report.runs.effects import effects, effects_chart
from widthwise.report.runs.records import records_table
from widthwise.report.runs.values import fields, flat, is_number, written
from widthwise.report.sections import folded, settings_table
from widthwise.report.table import csv_text
from widthwise.store import Store

__all__ = ["SweepPart", "stored_runs"]

Config = Mapping[str, Any]

_USUAL = ("test", "accuracy", "r2", "score", "validation", "loss", "error", "risk")  # what runs are judged by
_PANELS = 4
_LEAST = 0.01  # share of the variance that is worth a word


def stored_runs(path: Path, metric: str | None = None) -> list[SweepPart]:
    """The runs in a store, a part for each kind of them.

    Args:
        path: the store.
        metric: the result to explain, by name; by default the most usual one that there is.

    Raises:
        DataError: if the file is not a store.
        InputError: if no kind of runs has such a result.
        OSError: if it cannot be read.
    """
    with Store.existing(path) as store:
        parts = [SweepPart(path, kind, store.all(kind), metric) for kind in store.kinds()]
    parts = parts or [SweepPart(path, "", [], None)]
    if metric is not None and all(part.metric is None for part in parts):
        known = ", ".join(dict.fromkeys(name for part in parts for name in part.results)) or "none"
        raise InputError(f"metric: got {metric!r}, allowed is a numeric result of the runs in {path}: {known}")
    return parts


class SweepPart(Part):
    """Runs of one kind.

    Args:
        path: their store.
        kind: of the runs.
        runs: configs with their results, in the order in which they finished.
        metric: the result to explain.
    """

    kind = "runs"

    def __init__(self, path: Path, kind: str, runs: Sequence[tuple[Config, Config]], metric: str | None) -> None:
        place = path.resolve().parent.name if path.stem == "results" else path.name  # a folder of our own making
        self.name = f"{place} · {kind}" if kind else place
        self.size = len(runs)
        configs = [flat(_fields(config)) for config, _ in runs]
        self._constant, self._varied = _told_apart(configs)
        results = [{name: value for name, value in flat(result).items() if _scalar(value)} for _, result in runs]
        clashes = set(fields(configs)) & set(fields(results))
        self._records: list[Config] = [
            {"run": i}
            | {name: config.get(name) for name in self._varied}
            | {f"result.{name}" if name in clashes else name: value for name, value in result.items()}
            for i, (config, result) in enumerate(zip(configs, results, strict=True), 1)
        ]
        named = [f"result.{name}" if name in clashes else name for name in fields(results)]
        self.results = [name for name in named if any(is_number(record.get(name)) for record in self._records)]
        self.metric = _chosen(self.results, metric)
        self._effects = effects(self._records, self._varied, self.metric) if self.metric else []
        self.finding = self._said()[0] if runs else "No run has finished yet."

    def brief(self, level: int) -> str:
        """How many runs there are, and what matters in them."""
        count = f"{self.size:,} run{'' if self.size == 1 else 's'}"
        facts = "".join(element("span", text(fact)) for fact in ("widthwise", "runs", self.name))
        lead = element("p", text(self.finding), class_="lead")
        return element("p", facts, class_="eyebrow") + element(f"h{level}", text(count)) + lead

    def sections(self, place: Place) -> list[str]:
        """What matters beside its plots, every run, and what all runs share."""
        parts = [self._matters(place)] if self._effects else []
        label, stem = place.id("table-head"), re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:60] or "runs"
        table = element("p", "No run has finished yet.")
        if self.size:
            table = records_table(place, self._records, label=label, things="runs", stem=stem, largest=self.results)
        parts.append(section(place, "table", "Every run", table))
        if self._constant:
            shared = settings_table("The same in every run", self._constant)
            parts.append(folded(place, "settings", "Settings", shared))
        return parts

    def _matters(self, place: Place) -> str:
        """The claims beside the plots that bear them out."""
        title, metric = f"What {self.metric} depends on", str(self.metric)
        caption = (
            f"Mean of {metric} over the runs with each value of a field, ± one standard deviation over them. The share "
            "of the variance is ε² of a one-way analysis, one field at a time: what two fields do only together, it "
            "does not see."
        )
        plot = drawn(
            lambda width: effects_chart(self._effects[:_PANELS], metric, width), place.id("effects"), title, caption
        )
        numbers = [
            {
                "field": e.field,
                "share": e.share,
                "value": v.name,
                "mean": v.mean,
                "deviation": v.spread,
                "runs": v.count,
            }
            for e in self._effects
            for v in e.levels
        ]
        said = items((element("p", text(sentence)) for sentence in self._said()), "claims")
        words = said + self._extremes(place, metric) + element("p", text(caption))
        words += downloads({"effects.csv": csv_text(numbers)}, "the means and shares")
        return section(place, "effects", title, figure(plot, words))

    def _said(self) -> list[str]:
        if self.metric is None:
            return ["The runs have no numeric result."]
        if not self._effects:
            return [f"Nothing that was varied has values in common between runs to explain {self.metric} by."]
        worth = [e for e in self._effects if e.share >= _LEAST]
        if not worth:
            return [f"No single field accounts for 1 % of the variance of {self.metric}."]
        first, *rest = worth[:_PANELS]
        more = f"; {', '.join(f'{e.field} for {e.share:.0%}' for e in rest)}" if rest else ""
        return [f"{first.field} accounts for {first.share:.0%} of the variance of {self.metric}{more}."]

    def _extremes(self, place: Place, metric: str) -> str:
        """The runs with the least and the largest result, linked to their rows."""
        rows = ""
        every: list[Any] = [record.get(metric) for record in self._records]
        known = {i: value for i, value in enumerate(every) if is_number(value) and value == value}
        ordered = sorted(known, key=lambda i: known[i])
        for word, i in (("largest", ordered[-1]), ("least", ordered[0])):
            link = element("a", f"{word}, run {i + 1}", href=f"#{place.id(f'row-{i}')}")
            rows += element("dt", link) + element("dd", text(written(known[i])))
        return element("dl", rows, class_="rows")


def _fields(config: Config) -> dict[str, Any]:
    """A config's fields; those of a sweep's runs are the arguments of a call, which are the user's own words."""
    arguments = config.get("arguments")
    if not isinstance(arguments, Mapping):
        return dict(config)
    return {**{name: value for name, value in config.items() if name != "arguments"}, **arguments}


def _told_apart(configs: Sequence[Config]) -> tuple[dict[str, Any], list[str]]:
    """What all configs share, and the names of what varies."""
    names = fields(configs)
    constant = {n: configs[0].get(n) for n in names if all(n in c and c[n] == configs[0].get(n) for c in configs)}
    return constant, [name for name in names if name not in constant]


def _scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _chosen(results: Sequence[str], wanted: str | None) -> str | None:
    if wanted is not None:
        return wanted if wanted in results else None
    usual = [name for word in _USUAL for name in results if word in name.lower()]
    return next(iter([*usual, *results]), None)
