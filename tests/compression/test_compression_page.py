"""What the page on compression shows, run, and the files it links to, looked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "compression.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_code_runs(capsys):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, names)
    small, report = names["small"], names["report"]
    assert 0 < small.loss < small.start_loss < small.limit_loss < small.power
    assert report.blocks[0].error <= 0.02
    assert "0 -> 2 (gelu)" in capsys.readouterr().out


def test_the_command_has_the_options_it_lists():
    from widthwise.cli.compress import compress_command

    wanted = set(re.findall(r"`--(\w+)", TEXT.partition("### The command")[2].partition("##")[0]))
    hidden = {"to": "size", "out": "to"}  # by the names of the function's arguments
    assert {hidden.get(name, name) for name in wanted} <= set(compress_command.__wrapped__.__annotations__)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_every_file_it_links_to_is_there(target):
    assert (PAGE.parent / target).exists()
