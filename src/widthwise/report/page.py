"""The page around every report: one file that holds everything and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from string import Template

from widthwise.report.markup import element, text
from widthwise.report.style import css_variables

__all__ = ["page"]


def page(title: str, header: str, main: str, footer: str, *, skip_to: str, nav: str = "") -> str:
    """A whole HTML page, for a desk and a phone, in light and dark.

    Style and script are inside it, and its content policy forbids any other script and any request.

    Args:
        title: what the browser's tab says, as plain text.
        header: HTML of what comes first.
        main: HTML of the parts.
        footer: HTML of what comes last.
        skip_to: id of the part to which the first link leads.
        nav: HTML of links to the parts.
    """
    script = _static("report.js")
    return Template(_static("page.html")).substitute(
        title=text(title),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        light=css_variables(),
        dark=css_variables(dark=True),
        style=_static("report.css"),
        skip_to=text(skip_to),
        header=header,
        nav=element("nav", nav, aria_label="Contents") if nav else "",
        main=main,
        footer=footer,
        script=script,
    )


def _static(name: str) -> str:
    return (resources.files("widthwise.report") / "static" / name).read_text(encoding="utf-8")
