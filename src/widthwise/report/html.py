"""The report on one comparison."""

from __future__ import annotations

import os
from pathlib import Path

from widthwise._atomic import write_text
from widthwise.comparison import Comparison
from widthwise.errors import InputError, check_type
from widthwise.report.markup import Place, element
from widthwise.report.part import Part, page_of
from widthwise.report.sections import FOOTER, answer_in_brief, comparison_sections
from widthwise.report.verdict import answer

__all__ = ["ComparisonPart", "html_report", "write", "write_page"]


class ComparisonPart(Part):
    """A comparison as a part of a page.

    Args:
        comparison: with at least one row.

    Raises:
        InputTypeError: if ``comparison`` is not a comparison.
        InputError: if it has no rows.
    """

    kind = "comparison"
    footer = element("p", FOOTER)

    def __init__(self, comparison: Comparison) -> None:
        if not check_type("comparison", comparison, Comparison).rows:
            raise InputError("comparison: got one without rows, allowed is one with at least one")
        self._comparison, self._answer = comparison, answer(comparison)
        self.name = f"{comparison.data}, {comparison.budget:,} weights"
        self.finding = self._answer.headline
        self.size = len(comparison.rows)

    def brief(self, level: int) -> str:
        """The best way of spending the weights, by how much, and why."""
        return answer_in_brief(self._comparison, self._answer, level)

    def sections(self, place: Place) -> list[str]:
        """Plots with the findings they bear out, the table, the settings."""
        return comparison_sections(self._comparison, place)


def html_report(comparison: Comparison) -> str:
    """The comparison as one HTML page that opens offline, in light and dark, on a desk and on a phone.

    The page makes no request: style, script, plots and the numbers behind them are inside it, and its content
    policy forbids any other script. The same comparison gives the same page.

    Raises:
        InputTypeError: if ``comparison`` is not a comparison.
        InputError: if it has no rows.
    """
    return page_of([ComparisonPart(comparison)])


def write(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write the page to ``path``, whole or not at all.

    Raises:
        InputError: if ``path`` is a folder.
        OSError: if it cannot be written.
    """
    write_page(html_report(comparison), path)


def write_page(source: str, path: str | os.PathLike[str]) -> None:
    """Write a page to ``path``, whole or not at all.

    Raises:
        InputError: if ``path`` is a folder.
        OSError: if it cannot be written.
    """
    if Path(path).is_dir():
        raise InputError(f"path: got the folder {os.fspath(path)!r}, allowed is the name of a file")
    write_text(path, source)
