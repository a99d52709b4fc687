"""The page on node scaling: its code runs."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "node-scaling.md"


def test_the_code_runs_as_shown(capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "out_features=50" in printed
    before, after = names["run"]["loss"][[0, -1]].tolist()
    assert after < 0.1 * before


def test_every_function_named_exists():
    import widthwise as ww

    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("## Theory")[2].partition("## Nodes")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)]
    assert set(named) <= set(ww.flow.__all__)
    assert len(named) >= 11
