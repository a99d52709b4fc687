"""A matplotlib figure as an inline SVG that follows the page: its colours, its font, its reader."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from widthwise.report.style import LIGHT, RC
from widthwise.report.summary import clean

__all__ = ["XLINK", "embedded", "inline_svg", "parsed"]

_VARIABLES = {colour: name for name, colour in LIGHT.items()}
XLINK = "{http://www.w3.org/1999/xlink}href"


def inline_svg(
    figure: Figure,
    prefix: str,
    title: str,
    description: str,
    tips: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Render ``figure`` as one ``<svg>`` element that can stand inside a page.

    Colours of the palette become CSS variables (with the light colour as fallback), text stays text in the
    page's font, and ids get ``prefix`` so that several figures can share a page. The same figure gives the
    same string.

    Args:
        figure: the figure; one unit of the SVG is one point of it.
        prefix: a name that is unique in the page.
        title: the accessible name.
        description: the accessible description.
        tips: for an artist's gid, a text for each of its points, shown when the pointer rests on it.
    """
    root = parsed(_render(figure))
    for gid, texts in (tips or {}).items():
        _add_tips(root, gid, texts)
    return embedded(root, prefix, title, description)


def parsed(source: str | bytes) -> ElementTree.Element:
    """A drawing by matplotlib without namespaces, metadata and style sheets.

    Raises:
        ElementTree.ParseError: if it is no XML.
    """
    root = ElementTree.fromstring(source)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    for child in [c for c in root if c.tag == "metadata" or c.find("style") is not None]:
        root.remove(child)
    return root


def embedded(root: ElementTree.Element, prefix: str, title: str, description: str) -> str:
    """A parsed drawing as an element of the page; the arguments as in :func:`inline_svg`."""
    for element in root.iter():
        _adapt(element, prefix)
    view = root.get("viewBox", "")
    root.attrib.clear()
    names = {"aria-labelledby": f"{prefix}-title", "aria-describedby": f"{prefix}-desc"}
    root.attrib.update({"xmlns": "http://www.w3.org/2000/svg", "id": prefix, "viewBox": view, "role": "img"} | names)
    for i, (tag, text) in enumerate((("title", title), ("desc", description))):
        label = ElementTree.Element(tag, id=f"{prefix}-{tag}")
        label.text = clean(text)
        root.insert(i, label)
    return ElementTree.tostring(root, encoding="unicode")


def _render(figure: Figure) -> str:
    out = io.StringIO()
    with mpl.rc_context(RC), warnings.catch_warnings():
        # The reader's font draws the text; what the measuring font lacks is no loss.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    return out.getvalue()


def _add_tips(root: ElementTree.Element, gid: str, texts: Sequence[str]) -> None:
    group = root.find(f".//g[@id='{gid}']")
    # matplotlib repeats a complicated mark by reference, but draws a simple one anew for each point
    marks = [] if group is None else list(group.iter("use")) or group.findall("path")
    for mark, text in zip(marks, texts, strict=True):
        ElementTree.SubElement(mark, "title").text = text


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    """Make ids and references local, colours variable, numbers short; drop fonts and white space."""
    attributes = element.attrib
    if XLINK in attributes:
        attributes["href"] = f"#{prefix}-{attributes.pop(XLINK).removeprefix('#')}"
    if "id" in attributes:
        attributes["id"] = f"{prefix}-{attributes['id']}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{prefix}-")
    if "style" in attributes:
        style = re.sub(r"font-family:[^;]*;?\s*", "", attributes["style"])
        attributes["style"] = re.sub(r"#[0-9a-f]{6}", _variable, style)
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    if "d" in attributes:
        attributes["d"] = re.sub(r"(\.\d\d)\d+", r"\1", " ".join(attributes["d"].split()))
    if element.tag not in ("text", "title", "desc"):
        element.text = None
    element.tail = None


def _variable(match: re.Match[str]) -> str:
    name = _VARIABLES.get(match[0])
    return f"var(--{name}, {match[0]})" if name else match[0]
