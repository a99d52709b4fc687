"""The page on tables: its code runs and prints what it should."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def test_the_code_runs_as_shown(capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        exec(compile(block, str(PAGE), "exec"), names)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.split()[1] == "300"
    assert float(first.split()[2]) > 0.95
    assert rest == ["True", "True", "True"]
