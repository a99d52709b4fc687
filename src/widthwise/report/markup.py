"""The few HTML elements the page is made of; every text that enters goes through :func:`text`."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from widthwise.report.summary import NBSP, clean

__all__ = ["Place", "data_uri", "definitions", "downloads", "element", "items", "section", "text"]


@dataclass(frozen=True)
class Place:
    """Where in a page a part stands.

    Attributes:
        prefix: goes before every id of the part, so that several of its kind can share a page.
        level: of the part's headings.
    """

    prefix: str = ""
    level: int = 2

    def id(self, key: str) -> str:
        """The id that ``key`` has here.

        >>> Place("run-1-").id("table")
        'run-1-table'
        """
        return f"{self.prefix}{key}"


def text(value: object) -> str:
    """``value`` as text of the page, harmless in content and in quoted attributes.

    >>> text('<img src="x">')
    '&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(clean(value, keep=f" \n{NBSP}"), quote=True)


def element(tag: str, content: str = "", **attributes: object) -> str:
    """An element around ``content``, which is HTML already; attribute values are escaped here.

    An underscore in an attribute's name stands for a hyphen, and one at its end is dropped; ``None`` drops the
    attribute.

    >>> element("td", text("<1"), class_="small", data_value=0.5, title=None)
    '<td class="small" data-value="0.5">&lt;1</td>'
    """
    given = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items() if v is not None}
    opening = " ".join([tag, *(f'{k}="{text(v)}"' for k, v in given.items())])
    return f"<{opening}>{content}</{tag}>"


def items(contents: Iterable[str], class_: str) -> str:
    """An unordered list, empty if there is nothing to list."""
    listed = "".join(element("li", content) for content in contents)
    return element("ul", listed, class_=class_) if listed else ""


def definitions(pairs: Iterable[tuple[str, str]], class_: str) -> str:
    """A definition list of pairs that are HTML already, each in a group of its own."""
    return element("dl", "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs), class_=class_)


def data_uri(content: str, kind: str) -> str:
    """``content`` as a URI that holds it whole."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(content.encode(errors='replace')).decode()}"


def section(place: Place, key: str, title: str, content: str) -> str:
    """A card with a heading, which also names it."""
    head = element(f"h{place.level}", text(title), id=place.id(f"{key}-head"))
    return element("section", head + content, id=place.id(key), class_="card", aria_labelledby=place.id(f"{key}-head"))


def downloads(files: Mapping[str, str], what: str) -> str:
    """Links that save texts under their names, whose endings say their kinds."""
    return element(
        "p", "Numbers" + "".join(_download(name, content, what) for name, content in files.items()), class_="downloads"
    )


def _download(name: str, content: str, what: str) -> str:
    ending = PurePosixPath(name).suffix
    kind = {".csv": "text/csv", ".json": "application/json"}[ending]
    label = f"Download {what} as {ending[1:].upper()}"
    return element("a", ending[1:].upper(), href=data_uri(content, kind), download=name, aria_label=label)
