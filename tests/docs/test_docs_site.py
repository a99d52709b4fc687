"""The documentation holds together: links, navigation, what it names and quotes; and the site builds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest

import widthwise as ww

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PAPERS = sorted((DOCS / "papers").glob("*.md"))
NAV = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]


@cache
def text_of(path):
    return path.read_text(encoding="utf-8")


@cache
def anchors(path):
    """The ids that headings get on the site: lower case, words and hyphens."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", t)).strip().lower() for t in titles)
    return {re.sub(r"[\s-]+", "-", title) for title in plain}


def _rows():
    """Every row of a table on the papers' pages, as the cells and the page."""
    for page in PAPERS:
        for line in text_of(page).splitlines():
            if line.startswith("| ") and "`tests/" in line:
                yield pytest.param(page, line.strip("| ").split(" | "), id=f"{page.stem}-{line[2:40]}")


ROWS = list(_rows())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```|`[^`]*`", "", text_of(page), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name) if name else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert re.sub(r"-+", "-", anchor) in anchors(found), target


def test_every_page_is_in_the_navigation_and_reached_from_the_start():
    listed = set(re.findall(r"[\w/-]+\.md", NAV))
    ours = {p.relative_to(DOCS).as_posix() for p in PAGES if p.relative_to(DOCS).parts[0] != "results"}
    assert listed == ours | {"results/README.md"}
    start = re.findall(r"^\| \[[^]]+\]\(([\w/-]+\.md)\)", text_of(DOCS / "README.md"), re.MULTILINE)
    guides = re.findall(r"([\w-]+\.md)", NAV.partition("- Guides:")[2].partition("- Papers:")[0])
    assert [page for page in start if page in guides] == guides
    assert {"papers/README.md", "results/README.md", "reference/README.md"} <= set(start)
    assert set(re.findall(r"\]\(([\w/-]+\.md)\)", text_of(DOCS / "papers" / "README.md"))) >= {
        page.name for page in PAPERS if page.name != "README.md"
    }


def test_every_public_module_has_its_reference():
    named = {name for name in ww.__all__ if getattr(getattr(ww, name), "__name__", "") == f"widthwise.{name}"}
    pages = {page.stem: text_of(page) for page in (DOCS / "reference").glob("*.md")}
    for name in named:
        assert f"::: widthwise.{name}\n" in pages[name]
        assert f"]({name}.md)" in pages["README"]


@pytest.mark.parametrize(("page", "cells"), ROWS)
def test_functions_and_tests_on_the_papers_pages_exist(page, cells):
    (reference,) = re.findall(r"`(tests/[^`]+)`", " ".join(cells))
    path, _, name = reference.partition("::")
    assert re.search(rf"^def {name}\(", text_of(ROOT / path), re.MULTILINE), reference
    if page.stem == "mistakes":
        return
    for dotted in re.findall(r"`([\w.]+)`", cells[1]):
        assert resolve_name(f"widthwise.{dotted}")


@pytest.mark.parametrize(("page", "cells"), ROWS)
def test_numbers_on_the_papers_pages_are_those_of_the_results(page, cells):
    quoted = cells[4] if page.stem != "mistakes" and len(cells) > 4 else ""
    if not quoted.strip():
        return
    claim, _, target = quoted.partition("([page](")
    source = re.sub(r"\s+", " ", text_of(page.parent / target.strip(") ")))
    numbers = re.findall(r"(?<![\w.])-?(?:\d{1,3}(?: \d{3})+|\d+)(?:\.\d+)?(?:e-?\d+)?", claim)
    assert numbers or "least" in claim
    for number in numbers:
        assert re.search(rf"(?<![\w.]){re.escape(number.strip())}(?!\.?\d)", source), number


@pytest.mark.skipif(
    shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None, reason="MkDocs is not installed"
)
def test_the_site_builds_and_asks_the_network_for_nothing(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (site / "index.html", site / "papers" / "robust-pruning.html", site / "reference" / "pruning.html"):
        source = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|link)[^>]+(?:src|href)="(?:https?:)?//', source), page
    assert "<math" in (site / "reference" / "pruning.html").read_text(encoding="utf-8")
    assert ":func:" not in (site / "reference" / "kernels.html").read_text(encoding="utf-8")
    papers = (site / "papers" / "robust-pruning.html").read_text(encoding="utf-8")
    assert "Every figure and table" in papers
