"""Reports in a real browser, by keyboard and by eye; skipped where there is no Chromium."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import report_cases as cases
from browser import CHROMIUM, browser
from PIL import Image

from widthwise.report import html_report, write_folder
from widthwise.report.runs import report_runs
from widthwise.store import Store

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@dataclass(frozen=True)
class Config:
    width: int
    method: str
    seed: int


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(autouse=True)
def _quiet(tab):
    """Nothing that a page does may make the console speak or a request leave."""
    tab.complaints.clear()
    yield
    assert tab.complaints == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page a kind: a comparison, one full of attacks, and one on many runs of every origin."""
    folder = tmp_path_factory.mktemp("pages")
    made = {"digits": html_report(cases.digits()), "hostile": html_report(cases.hostile())}
    write_folder(cases.digits(seeds=2), folder / "compared")
    cases.experiment(folder / "experiment")
    with Store(folder / "sweep.sqlite") as store:
        configs = [Config(2**k, m, s) for k in range(6) for m in ("dense", "<b>snip</b>") for s in range(20)]
        store.put("sweep", [(c, {"accuracy": 0.5 + 0.01 * c.width + 1e-4 * c.seed, "seconds": 1.0}) for c in configs])
    made["many"] = report_runs([folder])
    for name, source in made.items():
        (folder / f"{name}.html").write_text(source, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


def column(tab, key, grid="#rows"):
    return tab.run(f"""(() => {{
        const table = document.querySelector('{grid} table');
        const head = [...table.tHead.rows[0].cells].find((cell) => cell.dataset.name === '{key}');
        return [...table.tBodies[0].rows].map((row) => row.cells[head.cellIndex])
            .map((cell) => cell.dataset.value ?? cell.textContent);
    }})()""")


def sort_by(tab, key, grid="#rows"):
    """Sort as a keyboard does: focus on the head's button, then Enter."""
    tab.run(f"document.querySelector('{grid} th[data-name=\"{key}\"] button').focus()")
    tab.press("Enter")


def find(tab, words, grid="#rows"):
    tab.run(f"document.querySelector('{grid} [type=search]').select()")
    tab.run(f"document.querySelector('{grid} [type=search]').value = ''")
    tab.press(words)
    return tab.run(f"document.querySelector('{grid} output').textContent")


def floats(values):
    return [float(v) for v in values if v]


def test_the_console_is_heard(tab, pages):
    """What the other tests rely on to be silent."""
    tab.open(pages["digits"])
    tab.run("console.error('trouble'); fetch('http://evil.example/').catch(() => null)")
    assert "trouble" in " ".join(tab.complaints)
    assert "Content Security Policy" in " ".join(tab.complaints)
    tab.complaints.clear()


def test_the_table_sorts_and_filters_by_keyboard(tab, pages):
    comparison = cases.digits()
    tab.open(pages["digits"])
    assert floats(column(tab, "rank")) == list(range(1, 17))
    sort_by(tab, "test")
    assert floats(column(tab, "test")) == sorted((r.mean for r in comparison.rows), reverse=True)
    sort_by(tab, "test")
    assert floats(column(tab, "test")) == sorted(r.mean for r in comparison.rows)
    known = sorted(r.predicted for r in comparison.rows if r.predicted is not None)
    sort_by(tab, "predicteddistance")
    assert floats(column(tab, "predicteddistance")) == known
    sort_by(tab, "predicteddistance")
    values = column(tab, "predicteddistance")
    assert (floats(values), values[-1]) == (known[::-1], "")  # what is missing stays last
    orders = tab.run("[...document.querySelectorAll('#rows th[aria-sort]')].map((one) => one.ariaSort)")
    assert (orders.count("descending"), orders.count("none")) == (1, 8)
    assert find(tab, "sparse x") == "5 of 21 networks"
    assert sorted(column(tab, "network")) == sorted(r.label for r in comparison.rows if r.method == "sparse")
    assert find(tab, "width>=24 snip") == "3 of 21 networks"
    assert find(tab, "nothing=3") == "0 of 21 networks"
    find(tab, " ")
    tab.run("document.querySelector('[data-hides=over]').focus()")
    tab.press(" ")
    assert tab.run("document.querySelector('#rows output').textContent") == "16 of 21 networks"


def test_long_tables_turn_their_pages_and_links_find_their_rows(tab, pages):
    tab.open(pages["many"])
    grid = tab.run("[...document.querySelectorAll('[data-grid=runs]')].map((one) => '#' + one.id)")[0]
    assert len(column(tab, "run", grid)) == 50
    tab.run(f"document.querySelector('{grid} .pages button:last-child').focus()")
    tab.press("Enter", "Enter", "Enter", "Enter", "Enter")
    shown = tab.run(f"document.querySelector('{grid} .pages output').textContent")
    assert (shown, floats(column(tab, "run", grid))) == ("201–240 of 240", list(range(201, 241)))
    find(tab, "width=1", grid)
    tab.run("[...document.querySelectorAll('.rows a')].find((one) => one.textContent.startsWith('largest')).click()")
    tab.run("new Promise((done) => setTimeout(done, 50))")
    (target,) = tab.run("[...document.querySelectorAll('tr.target')].map((row) => row.textContent)")
    assert "0.8219" in target


def test_plots_enlarge_and_go_back(tab, pages):
    tab.open(pages["many"])
    before = tab.run("[...document.querySelectorAll('figure svg')].map((one) => one.id)")
    tab.run("document.querySelector('.enlarge').focus()")
    tab.press("Enter")
    assert tab.run("document.querySelector('dialog').open && document.querySelectorAll('dialog svg').length") == 1
    wide = tab.run("document.querySelector('dialog svg').clientWidth")
    tab.press("Tab", "Enter")
    assert tab.run("document.querySelector('dialog svg').clientWidth") > 1.4 * wide
    tab.press("Escape")
    tab.run("new Promise((done) => setTimeout(done, 50))")
    assert tab.run("document.activeElement.className") == "enlarge"
    assert tab.run("[...document.querySelectorAll('figure svg')].map((one) => one.id)") == before


@pytest.mark.parametrize("name", ["digits", "hostile", "many"])
def test_a_phone_never_scrolls_sideways(tab, pages, name):
    tab.open(pages[name], width=360, height=780)
    assert tab.run("[innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    assert tab.run("document.querySelector('h1').getBoundingClientRect().right") <= 360


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(tab, pages, dark):
    tab.open(pages["digits"], 900, 1400, dark=dark)
    grey = np.asarray(Image.open(io.BytesIO(tab.picture())).convert("L"), dtype=float)
    assert (np.median(grey) < 128) == dark
    assert np.std(grey) > 10


@pytest.mark.parametrize("name", ["digits", "hostile", "many"])
def test_everything_has_a_name(tab, pages, name):
    tab.open(pages[name])
    named = tab.names("button", "link", "searchbox", "checkbox", "image", "region", "navigation", "article", "table")
    assert named
    assert [pair for pair in named if not pair[1].strip()] == []
    levels = tab.run("[...document.querySelectorAll('h1, h2, h3, h4')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1 == levels.count(1)
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert tab.run("document.querySelectorAll('main').length") == 1
    assert tab.run("[...document.querySelectorAll('[tabindex]')].every((one) => one.tabIndex === 0)")


def test_focus_goes_through_the_page_in_order(tab, pages):
    """The first stop is the link past everything; each further one lies after the one before it."""
    tab.open(pages["digits"])
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tab.run("window.stops = [document.activeElement]")
    for _ in range(12):
        tab.press("Tab")
        tab.run("stops.push(document.activeElement)")
    follows = "stops.slice(1).every((one, i) => stops[i].compareDocumentPosition(one) & 4)"
    assert tab.run(follows)
    assert tab.run("new Set(stops).size") == 13


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out(tab, pages, dark):
    """Contrast of every text with what lies behind it is at least 4.5 to 1 (WCAG 2 AA)."""
    tab.open(pages["many"], dark=dark)
    seen = tab.run("""(() => {
        const pairs = new Set();
        for (const one of document.querySelectorAll('body *:not(svg *):not(script):not(noscript)')) {
            if (!one.checkVisibility() || ![...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
            if (one.closest(':disabled')) continue;
            let behind = one;
            const colour = (node) => getComputedStyle(node).backgroundColor;
            while (behind.parentElement && colour(behind) === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
            pairs.add(JSON.stringify([getComputedStyle(one).color, colour(behind)]));
        }
        return [...pairs];
    })()""")
    assert len(seen) > 3
    for pair in map(json.loads, seen):
        light, dim = sorted((luminance(colour) for colour in pair), reverse=True)
        assert (light + 0.05) / (dim + 0.05) >= 4.5, pair


def luminance(colour):
    c = np.array([float(v) for v in re.findall(r"[\d.]+", colour)[:3]]) / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])
