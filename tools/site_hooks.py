"""What the documentation's site does beside MkDocs.

Every page of results is in the navigation, links that leave the documentation become plain text, and a paper's page
shows how its figures and tables stand.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

__all__ = ["on_config", "on_page_content", "on_page_markdown"]

_ENTRIES = re.compile(r"<!-- entries: ([a-z-]+) -->")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_config(config: Any, **_: Any) -> Any:
    """The settings with every page of results in the navigation."""
    docs = Path(config.docs_dir)
    (results,) = [part["Results"] for part in config.nav if "Results" in part]
    found = [path.relative_to(docs).as_posix() for path in sorted((docs / "results").rglob("*.md"))]
    results.extend(path for path in found if path not in results)
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page without links to files of the repository that the site does not hold.

    A link to a folder leads to its README. The mark ``<!-- entries: PAPER -->`` gives way to the paper's rows of the
    table of results.
    """
    folder = posixpath.dirname(page.file.src_uri)

    def mended(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        if ":" in target:
            return link[0]
        if posixpath.normpath(posixpath.join(folder, target)).startswith(".."):
            return words
        return f"[{words}]({target}README.md{anchor})" if target.endswith("/") else link[0]

    docs = Path(page.file.src_dir)
    return _LINK.sub(mended, _ENTRIES.sub(lambda mark: _entries(docs, mark[1]), markdown))


def on_page_content(html: str, **_: Any) -> str:
    """The page with long names in tables broken after their words, where they have to be broken."""
    return re.sub(r"(?<=<code>)[^<]+(?=</code>(?:[^<]|<(?!/?t[dr]))*</td>)", _breakable, html)


def _breakable(name: re.Match[str]) -> str:
    return re.sub(r"(::|[/_.])(?=\w)", r"\1<wbr>", name[0])


def _entries(docs: Path, paper: str) -> str:
    """The rows of one paper in the table of results, for a page of the folder beside it."""
    lines = (docs / "results" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(rf"\| \[?{paper}/", line)]
    if not rows:
        return ""
    head = next(i for i, line in enumerate(lines) if line.startswith("| entry |"))
    table = "\n".join([*lines[head : head + 2], *rows]).replace(f"]({paper}/", f"](../results/{paper}/")
    return f"## Every figure and table\n\n{table}\n"
