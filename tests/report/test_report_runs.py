"""Reports on stored runs: every origin, damaged files, hostile contents, many runs."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import sqlite3
from base64 import b64decode
from contextlib import closing
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
import report_cases as cases
from scipy import stats
from typer.testing import CliRunner

from widthwise.cli import app
from widthwise.errors import DataError, InputError
from widthwise.report import html_report, write_folder
from widthwise.report.foreign import foreign_svg
from widthwise.report.runs import find_parts, report_runs, write_runs
from widthwise.report.runs.compared import read_comparison
from widthwise.report.runs.effects import effects
from widthwise.report.table import to_json
from widthwise.store import Store

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">{}</svg>'


@dataclass(frozen=True)
class Config:
    width: object
    lr: object = 0.1
    data: str = "digits"


def store_of(path, runs):
    with Store(path) as store:
        store.put("training", runs)
    return path


def files_in(page):
    """The files a page offers, by name."""
    links = re.findall(r'<a href="data:[a-z/]+;charset=utf-8;base64,([^"]+)" download="([^"]+)"', page)
    return {name: b64decode(content).decode() for content, name in links}


class Tags(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.seen = []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))


def is_harmless(page):
    seen = Tags(page).seen
    assert not {"img", "iframe", "object", "embed", "foreignobject"} & {tag for tag, _ in seen}
    assert sum(tag == "script" for tag, _ in seen) == 1
    for _, attributes in seen:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", page)
    return True


@pytest.mark.parametrize("make", [cases.digits, cases.bare, cases.interrupted])
def test_a_comparison_comes_back_as_the_page_it_was(tmp_path, make):
    comparison = make()
    (tmp_path / "results.json").write_text(to_json(comparison))
    assert report_runs([tmp_path]) == html_report(comparison)


def test_a_hostile_comparison_is_written_and_read_back(tmp_path):
    files = write_folder(cases.hostile(), tmp_path)
    assert [file.name for file in files][:3] == ["report.html", "results.csv", "results.json"]
    page = report_runs([tmp_path])
    assert is_harmless(page)
    assert "&lt;img src=http://evil.example/x" in page


def test_a_diverged_comparison_comes_back_but_for_which_infinity(tmp_path):
    (tmp_path / "results.json").write_text(to_json(cases.diverged()))
    assert to_json(read_comparison(tmp_path / "results.json")) == to_json(cases.diverged())


def test_a_folder_of_compare_counts_once_and_its_store_is_part_of_it(tmp_path):
    write_folder(cases.digits(seeds=2), tmp_path)
    store_of(tmp_path / "results.sqlite", [(Config(1), {"test": 0.5})])
    parts = find_parts([tmp_path, tmp_path / "results.json"])
    assert [part.kind for part in parts] == ["comparison"]
    (part,) = find_parts([tmp_path / "results.sqlite"])
    assert (part.kind, part.name) == ("runs", f"{tmp_path.name} · training")


def test_an_experiment_shows_its_claims_its_figure_and_its_numbers(tmp_path):
    claim = {"text": "rescaling helps", "verdict": "held", "why": "", "ours": "1 < 2", "theirs": "less"}
    path = cases.experiment(tmp_path, claim=claim, substitute="digits")
    page = report_runs([path])
    assert page == report_runs([path.with_suffix(".svg")]) == report_runs([path.with_suffix(".svg"), tmp_path])
    for words in (
        "Rescaling trains at every depth.",
        "held</span> rescaling helps",
        "Substitute data: digits",
        "1 &lt; 2",
    ):
        assert words in page
    assert "black as matplotlib has it</text>" in page
    assert "#000000" not in page  # in the dark, black would vanish
    rows = list(csv.DictReader(io.StringIO(files_in(page)["robust-pruning-fig3-small.csv"])))
    assert rows == [{k: str(v) for k, v in row.items()} for row in json.loads(path.read_text())["rows"]]


def test_many_results_have_an_overview_that_leads_to_each(tmp_path):
    for i in range(3):
        cases.experiment(tmp_path / "paper", f"fig{i}")
    write_folder(cases.digits(seeds=2), tmp_path / "compared")
    store_of(tmp_path / "sweep.sqlite", [(Config(w), {"loss": float(w)}) for w in range(5)])
    page = report_runs([tmp_path])
    assert "<h1>5 results</h1>" in page
    ids = [attributes["id"] for _, attributes in Tags(page).seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    linked = {a["href"][1:] for _, a in Tags(page).seen if a.get("href", "").startswith("#")}
    assert {f"part-{i}" for i in range(5)} <= linked <= set(ids)
    assert page == report_runs([tmp_path])


def test_effects_are_those_of_a_one_way_analysis():
    draw = np.random.default_rng(0)
    records = [
        {"lr": lr, "kind": kind, "noise": str(n % 7), "y": lr + (kind == "b") * 0.3 + draw.normal(0, 0.1)}
        for n, (lr, kind) in enumerate((lr, kind) for lr in (0.1, 0.3, 1.0) for kind in "ab" for _ in range(20))
    ]
    found = {effect.field: effect for effect in effects(records, ["lr", "kind", "noise"], "y")}
    assert list(found) == ["lr", "kind", "noise"]
    for name, effect in found.items():
        groups = [[r["y"] for r in records if r[name] == value] for value in sorted({r[name] for r in records})]
        f = stats.f_oneway(*groups).statistic
        k, n = len(groups), len(records)
        assert effect.share == pytest.approx(max(0.0, (k - 1) * (f - 1) / ((k - 1) * f + n - k)))
        assert [level.mean for level in effect.levels] == pytest.approx([np.mean(g) for g in groups])
        assert [level.spread for level in effect.levels] == pytest.approx([np.std(g, ddof=1) for g in groups])


def test_a_field_of_many_numbers_is_put_into_classes():
    draw = random.Random(0)
    records = [{"lr": (x := draw.random()), "y": x * x, "id": str(i)} for i in range(100)]
    (effect,) = effects(records, ["lr", "id"], "y")
    assert len(effect.levels) == 12
    assert sum(level.count for level in effect.levels) == 100


def test_a_sweep_says_what_matters_beside_the_plot(tmp_path):
    draw = random.Random(0)
    runs = [
        (Config(w, lr), {"accuracy": w / 10 + draw.random() / 50, "note": "x"}) for w in range(5) for lr in range(9)
    ]
    page = report_runs([store_of(tmp_path / "s.sqlite", runs)])
    card = page[page.index('id="effects"') :].split("</section>")[0]
    assert re.search(r"width accounts for \d+% of the variance of accuracy", card)
    assert '<a href="#row-' in card
    assert card.count("<svg") == 2
    assert '<th scope="row">data</th><td>digits</td>' in page  # what all runs share stands apart from the table
    rows = list(csv.DictReader(io.StringIO(files_in(page)["s-sqlite-training.csv"])))
    assert [float(row["accuracy"]) for row in rows] == [result["accuracy"] for _, result in runs]


def test_the_metric_can_be_chosen(tmp_path):
    store = store_of(tmp_path / "s.sqlite", [(Config(w % 3, w), {"loss": 1.0, "steps": w % 3}) for w in range(9)])
    assert "What steps depends on" in report_runs([store], metric="steps")
    with pytest.raises(
        InputError, match="metric: got 'stepz', allowed is a numeric result of the runs in .*: loss, steps"
    ):
        report_runs([store], metric="stepz")


def test_what_runs_lack_is_left_blank_and_odd_numbers_are_shown(tmp_path):
    odd = [
        {"y": 10**400},
        {"y": float("nan")},
        {"y": float("inf")},
        {"z": -1e308},
        {},
        {"y": 1e308, "z": True},
        {"y": None},
    ]
    page = report_runs([store_of(tmp_path / "s.sqlite", [(Config(i), result) for i, result in enumerate(odd)])])
    for written in ("1e+400", "nan", "inf", "-1e+308", "1e+308", "yes", "–"):
        assert f">{written}</td>" in page


def test_an_empty_store_has_a_page(tmp_path):
    with Store(tmp_path / "s.sqlite"):
        pass
    assert "No run has finished yet." in report_runs([tmp_path])


def test_hostile_contents_are_text(tmp_path):
    attack = cases.HOSTILE
    cases.experiment(
        tmp_path, notes=[attack], settings={attack: attack}, command=attack, rows=[{attack: attack, "=1+1": [attack]}],
        claim={"verdict": attack, "text": attack}, machine=[attack], substitute=attack,
    )  # fmt: skip
    store_of(tmp_path / "x.sqlite", [(Config(w, attack), {"<b>": w, "loss": attack}) for w in range(4)])
    page = report_runs([tmp_path])
    assert is_harmless(page)
    assert "&lt;/script&gt;" in page


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<g onload="alert(1)"><path d="M0 0" onclick="alert(1)"/></g>',
        '<a xlink:href="javascript:alert(1)"><text>x</text></a>',
        "<foreignObject><body xmlns='http://www.w3.org/1999/xhtml'><img src='http://evil.example'/></body></foreignObject>",
        '<image xlink:href="http://evil.example/x.png"/><use xlink:href="http://evil.example/#x"/>',
        '<rect style="fill: url(http://evil.example/#x)" clip-path="url(http://evil.example/#c)"/>',
        "<style>@import url(http://evil.example/x.css);</style><text>x</text>",
        '<animate attributeName="href" values="javascript:alert(1)"/><set attributeName="onload" to="alert(1)"/>',
        "<title><text>&lt;/title>&lt;img src=x onerror=alert(1)></text></title>",
    ],
)
def test_a_drawing_can_only_draw(tmp_path, inside):
    path = tmp_path / "x.svg"
    path.write_text(SVG.format(inside))
    drawn, width = foreign_svg(path, "p", "title", "description")
    assert is_harmless(f"<script></script>{drawn}")
    assert "evil.example" not in drawn
    assert width == 9


BLANK = SVG.format("")


@pytest.mark.parametrize(
    "source",
    [
        "", "<svg", "<html/>", BLANK.replace("viewBox", "box"), SVG.format("<g>"),
        *(BLANK.replace("0 9 9", f"0 {width} 9") for width in (".", "1.2.3", "0", "-9", "9" * 400, "9" * 10**6 + "x")),
    ],
)  # fmt: skip
def test_a_drawing_that_is_none_is_refused(tmp_path, source):
    (tmp_path / "x.svg").write_text(source)
    with pytest.raises(DataError, match=r"x\.svg: not an SVG drawing"):
        foreign_svg(tmp_path / "x.svg", "p", "", "")


def test_pictures_inside_a_drawing_stay(tmp_path):
    source = SVG.format('<image xlink:href="data:image/png;base64,iVBORw0KGgo=" width="3" height="3"/>')
    (tmp_path / "x.svg").write_text(source)
    assert 'href="data:image/png;base64,iVBORw0KGgo="' in foreign_svg(tmp_path / "x.svg", "p", "", "")[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"experiment": "fig1", "rows": [{"a":', "not whole JSON"),
        ("[" * 100_000, "not whole JSON"),
        ("[1, 2]", "got list at its top"),
        ('{"experiment": "fig1", "rows": [3]}', "not a record that an experiment wrote"),
        ('{"experiment": "fig1", "rows": 3}', "not a record that an experiment wrote"),
        ('{"hello": 1}', "neither a comparison nor an experiment"),
        ('{"budget": 1, "metric": "R2", "rows": []}', "not a comparison that widthwise wrote"),
        ('{"budget": 1, "metric": "R2", "rows": [], "data": "d", "task": "t"}', "a comparison without rows"),
        ('{"budget": 1, "metric": "R2", "rows": [{"method": 3}], "data": "d", "task": "t"}', "not a comparison"),
        ('{"budget": 1e999, "metric": "R2", "rows": [3], "data": "d", "task": "t"}', "not a comparison"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, says):
    path = tmp_path / "fig1-small.json"
    path.write_text(content)
    for runs in ([path], [tmp_path]):
        with pytest.raises(DataError, match=f"fig1-small.json: {says}"):
            report_runs(runs)


def test_a_damaged_value_in_a_comparison_is_named(tmp_path):
    record = json.loads(to_json(cases.one_row()))
    record["rows"][0]["test"] = ["much"]
    (tmp_path / "results.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="'much' is no number"):
        read_comparison(tmp_path / "results.json")


def test_what_is_not_ours_is_refused(tmp_path):
    with pytest.raises(InputError, match="RUNS: got none"):
        report_runs([])
    with pytest.raises(InputError, match="does not exist"):
        report_runs([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="nothing to report on"):
        report_runs([tmp_path])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"notes.txt: not a result"):
        report_runs([tmp_path / "notes.txt"])
    (tmp_path / "text.sqlite").write_text("not a database at all")
    with pytest.raises(DataError, match=r"text.sqlite: not a store"):
        report_runs([tmp_path])
    with closing(sqlite3.connect(tmp_path / "text.db")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(DataError, match="database of another program"):
        report_runs([tmp_path / "text.db"])


def test_a_failed_report_leaves_the_old_one(tmp_path):
    page = tmp_path / "report.html"
    page.write_text("old")
    (tmp_path / "fig1-small.json").write_text("{")
    with pytest.raises(DataError):
        write_runs([tmp_path], page)
    assert page.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "fig1-small.json"}


def test_a_thousand_runs_come_in_pages(tmp_path):
    runs = [(Config(i % 4, i), {"accuracy": i % 7}) for i in range(1000)]
    page = report_runs([store_of(tmp_path / "s.sqlite", runs)])
    assert page.count('<tr id="row-') == 1000
    assert page.partition("<template>")[0].count('<tr id="row-') == 50
    assert len(page) < 1_000_000


def test_the_command(tmp_path):
    cases.experiment(tmp_path / "runs")
    out = tmp_path / "new" / "page.html"
    done = CliRunner().invoke(app, ["report", str(tmp_path / "runs"), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].startswith("robust-pruning/fig3 · small\texperiment\t4 rows\tRescaling")
    assert out.read_text(encoding="utf-8") == report_runs([tmp_path / "runs"])
    listed = CliRunner().invoke(app, ["report", "--list", str(tmp_path / "runs"), "-o", str(tmp_path / "no.html")])
    assert listed.output.splitlines() == done.output.splitlines()[:1]
    assert not (tmp_path / "no.html").exists()
    bad = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere")])
    assert (bad.exit_code, len(bad.output.splitlines())) == (2, 1)
