"""A drawing from a file: only what draws is let into the page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from widthwise.errors import DataError
from widthwise.report.style import INK, SURFACE
from widthwise.report.svg import XLINK, embedded, parsed

__all__ = ["foreign_svg"]

_LARGEST = 8 * 2**20  # bytes of a file
_WIDEST = 1e6
_VIEW = re.compile(r"\s*N\s+N\s+(N)\s+N\s*".replace("N", r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"))
# fmt: off
_TAGS = frozenset((
    "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "pattern", "image",
))
_ATTRIBUTES = frozenset((
    "id", "d", "transform", "style", "x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "x1", "y1", "x2", "y2",
    "points", "viewBox", "clip-path", "clip-rule", "fill", "stroke", "opacity", "preserveAspectRatio", "patternUnits",
))
# fmt: on
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")
_BLACK_AND_WHITE = {"#000000": INK, "#ffffff": SURFACE}


def foreign_svg(path: Path, prefix: str, title: str, description: str) -> tuple[str, float]:
    """The drawing in a file as an element of the page, and its width in its own units.

    Scripts, styles, links, animation and whatever else does not draw are left out, and references lead nowhere but
    to its own parts. Black and white follow the page.

    Args:
        path: an SVG file by matplotlib.
        prefix: a name that is unique in the page.
        title: the accessible name.
        description: the accessible description.

    Raises:
        DataError: if the file is not an SVG, or too large.
    """
    if path.stat().st_size > _LARGEST:
        raise DataError(f"{path}: a drawing of {path.stat().st_size:,} bytes, allowed are at most {_LARGEST:,}")
    try:
        root = parsed(path.read_bytes())
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not an SVG drawing ({error}); run what wrote it again") from error
    view = _VIEW.fullmatch(root.get("viewBox", ""))
    if root.tag != "svg" or view is None or not 0 < float(view[1]) <= _WIDEST:
        raise DataError(f"{path}: not an SVG drawing with a viewBox; run what wrote it again")
    _keep_what_draws(root)
    return embedded(root, prefix, title, description), float(view[1])


def _keep_what_draws(element: ElementTree.Element) -> None:
    for child in list(element):
        if child.tag in _TAGS:
            _keep_what_draws(child)
        else:
            element.remove(child)
    link = element.get(XLINK, element.get("href", ""))
    for name in [
        name for name in element.attrib if name not in _ATTRIBUTES or "url(" in _foreign(element.attrib[name])
    ]:
        del element.attrib[name]
    if element.tag == "image" and _PICTURE.fullmatch(link):
        element.set("href", link)
    elif link.startswith("#"):
        element.set(XLINK, link)
    style = element.get("style", "")
    if element.tag == "text" and "fill" not in style:
        style = f"{style}; fill: {INK}"  # what matplotlib does not say is black
    if style:
        element.set("style", re.sub("|".join(_BLACK_AND_WHITE), lambda m: _BLACK_AND_WHITE[m[0]], style))


def _foreign(value: str) -> str:
    """``value`` without its references to parts of the drawing."""
    return re.sub(r"url\(#[\w.-]+\)", "", value.lower())
