"""The page: whole, harmless, self-contained, the same every time."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import report_cases as cases

from widthwise.comparison import Finding
from widthwise.errors import InputError, InputTypeError
from widthwise.report import html_report, write
from widthwise.report.summary import METRICS, Metric, Summary, compact
from widthwise.report.table import ranked

VOID = {"meta", "link", "input", "br"}
MAKERS = [make for make in cases.ALL if make is not cases.huge]
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """Every element with its attributes, every text, and whether the elements nest."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.texts, self.open, self.source = [], [], [], source
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def drawings(self):
        return [ElementTree.fromstring(s) for s in re.findall(r"<svg .*?</svg>", self.source, flags=re.DOTALL)]

    def prose(self):
        return " ".join(data for tag, data in self.texts if tag not in ("script", "style")).replace("\xa0", " ")


@functools.cache
def page_of(make):
    return Page(html_report(make()))


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def shown(request):
    return request.param(), page_of(request.param)


def test_ids_are_unique_and_references_lead_somewhere(shown):
    _, page = shown
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        named = [attributes[k] for k in ("aria-labelledby", "aria-describedby", "for") if k in attributes]
        linked = [v[1:] for k, v in attributes.items() if k == "href" and v.startswith("#")]
        clipped = re.findall(r"url\(#(.*?)\)", " ".join(filter(None, attributes.values())))
        assert {*named, *linked, *clipped} <= set(ids)


def test_nothing_is_asked_of_the_network(shown):
    _, page = shown
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "img", "audio", "video", "form")
        for name, value in attributes.items():
            if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
                assert value.startswith(("#", "data:")), (tag, name, value)
            assert not re.search(r"url\((?!#)", value or ""), (tag, name, value)
            assert not name.startswith("on")
    style = "".join(data for tag, data in page.texts if tag == "style")
    assert "@import" not in style
    assert "url(" not in style
    assert "http" not in style


def test_policy_allows_our_script_only(shown):
    _, page = shown
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page.source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == len(page.all("script")) == 1
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_drawings_are_well_formed_named_and_of_the_pages_colours(shown):
    _, page = shown
    drawings = page.drawings()
    assert drawings
    assert {d.get("id").rpartition("-")[2] for d in drawings} == {"wide", "narrow"}
    for drawing in drawings:
        assert drawing.get("role") == "img"
        assert drawing.find(f"{SVG}title").text
        assert drawing.find(f"{SVG}desc").text
        assert drawing.findall(f".//{SVG}text")
        for element in drawing.iter():
            style = re.sub(r"var\(--[a-z0-9-]+, #[0-9a-f]{6}\)", "", element.get("style") or "")
            assert "#" not in style, style
            assert "font-family" not in style
        for text in drawing.iter(f"{SVG}text"):
            assert "fill: var(--" in text.get("style"), text.text


def test_every_number_stands_in_the_table(shown):
    comparison, page = shown
    metric, prose = Metric.of(comparison), page.prose()
    for row in comparison.rows:
        summary = Summary.of(row)
        if summary.mean is not None:
            assert metric.pair(summary.mean, summary.spread) in prose
        for value in (f"{row.width:,}", f"{row.weights:,}", f"{100 * row.connectivity:.3g}"):
            assert value in prose
        for value in (row.predicted, row.measured):
            assert compact(value) in prose


def test_rows_carry_their_sort_keys(shown):
    comparison, page = shown
    rows = re.findall(r'<tr id="row-.*?</tr>', page.source, flags=re.DOTALL)
    cells = [re.findall(r'<td(?: data-value="(.*?)")?>(.*?)</td>', row, flags=re.DOTALL) for row in rows]
    assert {len(row) for row in cells} == {8}
    for place, name in ((3, "width"), (4, "weights"), (5, "connectivity")):
        keys = [float(row[place][0] or row[place][1]) for row in cells]
        assert keys == [getattr(row, name) for row in ranked(comparison)]
    assert [a["aria-sort"] for a in page.all("th") if "aria-sort" in a] == ["ascending"] + ["none"] * 8


def test_downloads_hold_the_numbers(shown):
    comparison, page = shown
    files = {}
    for link in page.all("a"):
        if "download" in link:
            head, _, body = link["href"].partition(";base64,")
            assert re.fullmatch(r"[A-Za-z0-9-]+\.(csv|json)", link["download"])
            assert head.endswith("charset=utf-8")
            files[link["download"].partition("-table")[1] or link["download"]] = base64.b64decode(body).decode()
    tables = [v for v in files.values() if v.startswith("rank,")]
    assert tables == [] or len(list(csv.DictReader(io.StringIO(tables[0])))) == len(comparison.rows)
    for text in files.values():
        if text.startswith(("{", "[")):
            assert json.loads(text)
        else:
            assert list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("make", [cases.hostile, cases.one_row])
def test_the_same_comparison_gives_the_same_page(make):
    assert html_report(make()) == page_of(make).source


def test_the_answer_comes_first():
    page = page_of(cases.digits).source
    places = [
        page.index(s) for s in ("<h1>snip x8 spends 222 weights best", 'id="accuracy"', 'id="table"', "<details>")
    ]
    assert places == sorted(places)


def test_findings_stand_beside_their_evidence():
    comparison = cases.digits()
    page = page_of(cases.digits).source
    for key, finding in zip(("accuracy", "distance", "curves"), comparison.findings, strict=True):
        section = page[page.index(f'<section id="{key}"') :].split("</section>")[0]
        assert finding in section
    assert re.search(r'<a href="#row-\d+">snip x8</a>', page)


def test_a_finding_whose_plot_is_missing_moves_to_the_first():
    page = html_report(replace(cases.bare(), findings=(Finding("The kernel of sparse x4 is near.", "distance"),)))
    assert "The kernel of sparse x4 is near." in page[page.index('id="accuracy"') :].split("</section>")[0]


def test_hostile_names_are_text():
    page = page_of(cases.hostile)
    assert "evil.example" in page.prose()
    assert not page.all("img")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", page.source)
    assert "a, b" in page.prose()  # a set is shown in order


def test_diverged_seeds_are_visible():
    page = page_of(cases.diverged)
    assert "2 of 5 diverged" in page.prose()
    assert "Hollow: some seeds diverged" in page.prose()


def test_notes_of_a_row_are_shown():
    full = cases.one_row()
    rows = (replace(full.rows[0], notes=("layer <1> died",)), *full.rows[1:])
    assert "layer <1> died" in Page(html_report(replace(full, rows=rows))).prose()


def test_points_say_their_numbers():
    comparison = cases.digits()
    drawings = {d.get("id"): d for d in page_of(cases.digits).drawings()}
    tips = [t.text for t in drawings["accuracy-wide"].iter(f"{SVG}title")][1:]
    assert len(tips) == len(comparison.rows)
    for row in comparison.rows:
        value = METRICS["accuracy"].value(row.mean, row.spread)
        assert f"{row.label}, width {row.width}, {row.weights:,} weights: {value}" in tips


def test_a_thousand_rows():
    page = page_of(cases.huge)
    assert len([a for a in page.all("tr") if a.get("id", "").startswith("row-")]) == 1000


def test_write(tmp_path):
    path = tmp_path / "new" / "report.html"
    write(cases.one_row(), path)
    assert path.read_text(encoding="utf-8") == page_of(cases.one_row).source
    with pytest.raises(InputError, match="path: got the folder"):
        write(cases.one_row(), tmp_path)


def test_bad_input():
    with pytest.raises(InputTypeError, match="comparison: got None"):
        html_report(None)
    with pytest.raises(InputError, match="without rows"):
        html_report(replace(cases.digits(), rows=()))


@pytest.mark.slow
def test_another_process_gives_the_same_page():
    code = "import hashlib, report_cases as c; from widthwise.report import html_report as h; "
    code += "print(hashlib.sha256(h(c.hostile()).encode()).hexdigest())"
    here = hashlib.sha256(page_of(cases.hostile).source.encode()).hexdigest()
    folder = Path(__file__).parent
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env={"PYTHONHASHSEED": "1"}, capture_output=True, check=True)
    assert done.stdout.decode().strip() == here


def test_data_uris_decode_as_browsers_do():
    """No character of a URI needs percent-decoding, so that it means the same to every reader."""
    links = [a["href"] for a in page_of(cases.one_row).all("a") if a.get("href", "").startswith("data:")]
    assert links
    assert all(unquote(link) == link and link.isascii() for link in links)
