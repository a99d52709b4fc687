"""Docstrings for the site: Sphinx's roles become code, and formulas MathML, which browsers draw without a script."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

from griffe import Extension, Object
from latex2mathml.converter import convert

__all__ = ["Docstrings", "readable"]

_ROLE = re.compile(r":(\w+):`(~?)([^`]+)`")
_DISPLAY = re.compile(r"^( *)\.\. math::[ ]*(.*(?:\n(?:\1 +.*|[ ]*(?=\n\1 )))*)", re.MULTILINE)


class Docstrings(Extension):
    """Makes every docstring readable as it is collected."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value)


def readable(text: str) -> str:
    """A docstring in Markdown.

    >>> readable("See :func:`~widthwise.prune` and :class:`Mask`.")
    'See `prune` and `Mask`.'
    """
    return _ROLE.sub(_inline, _DISPLAY.sub(_display, text))


def _inline(role: re.Match[str]) -> str:
    kind, short, content = role[1], role[2], role[3]
    if kind == "math":
        return f"<span>{_mathml(content)}</span>"  # a line that begins with a formula stays in its paragraph
    return f"`{content.rpartition('.')[2] if short else content}`"


def _display(block: re.Match[str]) -> str:
    return "\n" + indent(_mathml(" ".join(block[2].split()), display="block"), block[1]) + "\n"


def _mathml(formula: str, display: str = "inline") -> str:
    return convert(formula, display=display).replace("*", "&#42;").replace("_", "&#95;")
