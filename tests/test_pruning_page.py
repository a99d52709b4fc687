"""What the page on pruning shows, run, and the results it quotes, read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "pruning.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_code_runs(capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)
    assert (names["done"].rule, round(names["mask"].sparsity, 3)) == ("measured", 0.9)
    assert "9 residual branches scaled by 0.333333" in capsys.readouterr().out


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_every_file_it_links_to_is_there(target):
    assert (PAGE.parent / target).exists()
