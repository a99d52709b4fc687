"""An experiment of a paper as a part of a report: what was found beside its figure, the numbers, the command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from widthwise._jsonfile import read_json
from widthwise.errors import DataError
from widthwise.report.figure import figure
from widthwise.report.foreign import foreign_svg
from widthwise.report.markup import Place, definitions, element, items, section, text
from widthwise.report.part import Part
from widthwise.report.runs.reading import mapping_in
from widthwise.report.runs.records import records_table
from widthwise.report.sections import folded, settings_table

__all__ = ["ExperimentPart", "is_experiment"]


def is_experiment(record: Mapping[str, Any]) -> bool:
    """Whether a record from a JSON file is one that an experiment wrote."""
    return {"experiment", "rows"} <= record.keys()


class ExperimentPart(Part):
    """What ``widthwise reproduce`` left as NAME-SCALE.json, with NAME-SCALE.svg beside it.

    Args:
        path: the JSON file.

    Raises:
        DataError: if it was not written by an experiment, or the drawing is damaged.
        OSError: if a file cannot be read.
    """

    kind = "experiment"

    def __init__(self, path: Path) -> None:
        record = read_json(path)
        rows = record.get("rows")
        if not is_experiment(record) or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{path}: not a record that an experiment wrote; run it again")
        self._path, self._record, self._rows = path, record, rows
        self._command = str(record.get("command", ""))
        full = re.search(r"reproduce (\S+/\S+)", self._command)
        self.name = f"{full[1] if full else record['experiment']} · {record.get('scale', 'scale unknown')}"
        notes = record.get("notes")
        self._notes = [str(note) for note in notes] if isinstance(notes, list) else []
        self._claim = {name: str(value) for name, value in mapping_in(record, "claim").items()}
        sentences = [f"{self._claim['verdict']}: {self._claim.get('text', '')}"] if "verdict" in self._claim else []
        self.finding = next(iter([*sentences, *self._notes]), f"{len(rows):,} measurements")
        self.size = len(rows)

    def brief(self, level: int) -> str:
        """Its name and the command that makes it again."""
        code = element("code", text(self._command))
        return element(f"h{level}", text(self.name)) + (element("p", code, class_="command") if self._command else "")

    def sections(self, place: Place) -> list[str]:
        """What was found beside the figure, the numbers, the settings."""
        tables = settings_table("Settings", mapping_in(self._record, "settings"))
        tables += settings_table("Machine", mapping_in(self._record, "machine"))
        parts = [self._found(place), self._numbers(place), folded(place, "settings", "Settings and machine", tables)]
        return parts if tables else parts[:-1]

    def _found(self, place: Place) -> str:
        said = items((*self._judged(), *(element("p", text(note)) for note in self._notes)), "claims")
        drawing, title = self._path.with_suffix(".svg"), f"The figure of {self.name}"
        if not drawing.is_file():
            return section(place, "figure", "What was found", said or element("p", "There is no drawing of it."))
        description = f"{' '.join(self._notes)} The numbers are in the table below it and can be downloaded."
        plot, width = foreign_svg(drawing, place.id("drawing"), title, description)
        # On a phone the drawing keeps a size at which it can be read, and scrolls within its own frame.
        frame = element(
            "div", plot, class_="foreign", tabindex=0, role="region", aria_label=title, style=f"--natural:{width:.0f}px"
        )
        return section(
            place, "figure", "What was found", figure(frame, said or element("p", "The measurements, drawn."))
        )

    def _judged(self) -> Iterator[str]:
        """The paper's claim with its verdict, ours beside theirs; and what data stood in for the paper's."""
        if "verdict" in self._claim:
            verdict = element("span", text(self._claim["verdict"]), class_="verdict")
            why = f" ({self._claim['why']})" if self._claim.get("why") else ""
            pairs = {"ours": "ours", "the paper": "theirs"}
            sides = definitions(((name, text(self._claim.get(key) or "–")) for name, key in pairs.items()), "sides")
            yield element("p", f"{verdict} {text(self._claim.get('text', '') + why)}") + sides
        if self._record.get("substitute"):
            yield element("p", text(f"Substitute data: {self._record['substitute']} in place of the paper's."))

    def _numbers(self, place: Place) -> str:
        if not self._rows:
            return section(place, "table", "The numbers", element("p", "It recorded no numbers."))
        stem = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:60] or "experiment"
        label = place.id("table-head")
        return section(
            place, "table", "The numbers", records_table(place, self._rows, label=label, things="rows", stem=stem)
        )
