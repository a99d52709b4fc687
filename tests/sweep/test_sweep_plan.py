"""Plans and their files: every run named by its content, every mistake named."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from widthwise.errors import DataError, InputError, InputTypeError
from widthwise.sweep import ENTRIES, Entry, Plan, read_plan
from widthwise.sweep.plan import varied

SAMPLES = Path(__file__).with_name("sample_runs.py")
SQUARE = Entry(f"{SAMPLES}:square")


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_a_plan_is_the_product_of_its_lists():
    plan = Plan(
        Entry("train"),
        {"epochs": 1},
        {"width": [1, 2], "lr": [0.1, 0.2]},
        {"method": ["dense", "snip"], "sparsity": [0, 0.5]},
        3,
    )
    runs = list(plan.runs().values())
    seen = [tuple(r.arguments[n] for n in ("method", "sparsity", "width", "lr", "seed")) for r in runs]
    zipped = [("dense", 0), ("snip", 0.5)]
    assert seen == [(*z, w, r, s) for z, w, r, s in itertools.product(zipped, [1, 2], [0.1, 0.2], range(3))]
    assert all(r.arguments["epochs"] == 1 for r in runs)
    assert varied(runs) == ["method", "sparsity", "width", "lr", "seed"]
    assert len(Plan(SQUARE, {"x": 2}).runs()) == 1


def test_a_run_is_named_by_its_content():
    one = Plan(SQUARE, {"seed": 1}, {"x": [1, 2]}).runs()
    assert (
        one.keys()
        == Plan(SQUARE, {"x": 1}, {"seed": [1]}).runs().keys() | Plan(SQUARE, {"x": 2, "seed": 1}).runs().keys()
    )
    assert not one.keys() & Plan(SQUARE, {"seed": 1}, {"x": [1, 2]}, version=2).runs().keys()
    assert len(Plan(SQUARE, {}, {"x": [1, 1, 2]}).runs()) == 2


def test_a_file_says_the_same(tmp_path):
    (tmp_path / "own.py").write_text("def go(a, b=2, **rest):\n    return {'c': a + b}\n")
    path = written(
        tmp_path, 'run = "own.py:go"\nseeds = 2\nversion = 3\n[fixed]\nz = "t"\n[grid]\na = [1, 2]\n[zip]\nb = [3]\n'
    )
    plan = read_plan(path)
    assert plan.entry == Entry("own.py:go", str(tmp_path))
    assert plan.runs() == Plan(plan.entry, {"z": "t"}, {"a": [1, 2]}, {"b": [3]}, 2, 3).runs()
    assert plan.entry.function()(a=1) == {"c": 3}


@pytest.mark.parametrize("name", [f"{SAMPLES}:square", "math:sqrt", *ENTRIES])
def test_entries_are_found(name):
    assert callable(Entry.of(name).function())


def test_a_function_is_an_entry():
    from widthwise.environment import machine

    assert Entry.of(machine).name == "widthwise.environment:machine"
    with pytest.raises(InputTypeError, match="at the top of a module"):
        Entry.of(lambda: {})
    with pytest.raises(InputTypeError, match="run: got 3"):
        Entry.of(3)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('run = "train"\n[grid]\nwidht = [1]\n', "argument of train: got 'widht', .*did you mean 'width'"),
        ('run = "train"\n[gird]\nwidth = [1]\n', "key: got 'gird', .*did you mean 'grid'"),
        (
            'run = "trian"\n',
            "run: got 'trian', allowed are compare, reproduce, train .did you mean 'train'.*file.py:function",
        ),
        ('run = "train"\nseeds = "three"\n', "seeds: got 'three', allowed is a whole number"),
        ('run = "train"\nseeds = true\n', "seeds: got True"),
        ('run = "train"\nseeds = 0\n', "seeds: got 0"),
        ('run = "train"\ngrid = 3\n', r"grid: got 3, allowed is a table, \[grid\]"),
        ('run = "train"\n[grid]\nwidth = 3\n', "width: got 3, allowed is a list"),
        ('run = "train"\n[grid]\nwidth = []\n', "width: got an empty list"),
        ('run = "train"\n[grid]\nlr = [nan]\n', "allowed are JSON values"),
        ('run = "train"\n[grid]\nlr = [2020-01-01]\n', "allowed are JSON values"),
        ('run = "train"\nseeds = 2\n[grid]\nseed = [1]\n', "seed: given twice"),
        ('run = "train"\n[zip]\nwidth = [1]\nlr = [1, 2]\n', "different lengths .width 1, lr 2"),
        ('run = "reproduce"\n', "experiment: not given, but reproduce needs it"),
        ("seeds = 1\n", "run: not given"),
        ('run = "train"\n[grid\n', r"is no TOML: .*at line 2"),
        ('run = "no.such.module:f"\n', "cannot be imported"),
        ('run = "nothere.py:f"\n', "no file .*nothere.py"),
        ('run = "own.py:goo"\n', "run: got 'goo', allowed are go .did you mean 'go'"),
        ('run = "broken.py:f"\n', r"broken.py cannot be imported .ZeroDivisionError"),
    ],
)
def test_mistakes_are_named(tmp_path, text, match):
    (tmp_path / "own.py").write_text("def go(a):\n    return {}\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises((InputError, InputTypeError), match=match) as caught:
        read_plan(written(tmp_path, text))
    assert "sweep.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.toml: cannot be read"):
        read_plan(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"x\.toml: is no UTF-8 text"):
        read_plan(tmp_path / "x.toml")
