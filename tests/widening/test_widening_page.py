"""What the page on widening shows, run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "widening.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)
    printed = capsys.readouterr().out
    assert "175192 175192" in printed
    assert "198,360 weights met: -2 weights" in printed
    assert "3 -2 2560" in printed
    assert "0.5" in printed.splitlines()[-1]
    assert (tmp_path / "distribution.svg").exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_every_file_it_links_to_is_there(target):
    assert (PAGE.parent / target).exists()
