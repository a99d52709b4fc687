"""The report: one page that holds everything and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import resources
from pathlib import Path
from string import Template

from widthwise._atomic import write_text
from widthwise.comparison import Comparison
from widthwise.errors import InputError, check_type
from widthwise.report.gallery import gallery
from widthwise.report.markup import definitions, element, items, text
from widthwise.report.sections import exhibit_section, settings_section, table_section
from widthwise.report.style import css_variables
from widthwise.report.table import seeds
from widthwise.report.verdict import Answer, answer, claims

__all__ = ["html_report", "write"]

_FOOTER = (
    "Results are means over seeds on a test set that the ranking never saw, ± one standard deviation. Networks are "
    "ranked by their mean on the validation set. Weights are counted without biases. Formula (4) is that of "
    "<cite>Are wider nets better given the same number of parameters?</cite> (Golubeva, Neyshabur, Gur-Ari, 2021)."
)


def html_report(comparison: Comparison) -> str:
    """The comparison as one HTML page that opens offline, in light and dark, on a desk and on a phone.

    The page makes no request: style, script, plots and the numbers behind them are inside it, and its content
    policy forbids any other script. The same comparison gives the same page.

    Raises:
        InputTypeError: if ``comparison`` is not a comparison.
        InputError: if it has no rows.
    """
    check_type("comparison", comparison, Comparison)
    if not comparison.rows:
        raise InputError("comparison: got one without rows, allowed is one with at least one")
    found, script = answer(comparison), _static("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(_static("page.html")).substitute(
        title=text(f"{found.headline} · {comparison.data} · widthwise"),
        script_hash=digest,
        light=css_variables(),
        dark=css_variables(dark=True),
        style=_static("report.css"),
        header=_header(comparison, found),
        sections="\n".join(_sections(comparison)),
        footer=element("p", _FOOTER),
        script=script,
    )


def write(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write the page to ``path``, whole or not at all.

    Raises:
        InputError: if ``path`` is a folder.
        OSError: if it cannot be written.
    """
    if Path(path).is_dir():
        raise InputError(f"path: got the folder {os.fspath(path)!r}, allowed is the name of a file")
    write_text(path, html_report(comparison))


def _static(name: str) -> str:
    return (resources.files("widthwise.report") / "static" / name).read_text(encoding="utf-8")


def _header(comparison: Comparison, found: Answer) -> str:
    facts = ("widthwise", comparison.data, f"{comparison.budget:,} weights", seeds(comparison), comparison.task)
    why = items(map(text, found.why), "why")
    numbers = definitions(((text(name), text(value)) for name, value in found.numbers), "numbers")
    return "\n".join(
        (
            element("p", "".join(element("span", text(fact)) for fact in facts), class_="eyebrow"),
            element("h1", text(found.headline)),
            element("p", text(found.lead), class_="lead"),
            numbers if found.numbers else "",
            why,
        )
    )


def _sections(comparison: Comparison) -> list[str]:
    """One section a plot with the claims it bears out, then the table, then the settings."""
    exhibits, said = gallery(comparison), claims(comparison)
    keys = [exhibit.key for exhibit in exhibits]
    homes = [claim.plot if claim.plot in keys else keys[0] for claim in said]
    shown = [
        exhibit_section(comparison, exhibit, [c for c, key in zip(said, homes, strict=True) if key == exhibit.key])
        for exhibit in exhibits
    ]
    return [*shown, table_section(comparison), settings_section(comparison)]
