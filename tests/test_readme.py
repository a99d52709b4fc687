"""What the README and the examples show, run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_readmes_ten_lines_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WIDTHWISE_CACHE", str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert "hidden1.weight" in capsys.readouterr().out
    loaded = names["ww"].load("model.safetensors")
    weight = dict(loaded.named_parameters())["hidden1.weight"]
    assert names["mask"].kept == round(0.05 * names["mask"].total)
    assert int(weight.count_nonzero()) == next(x.kept for x in names["mask"].layers() if x.name == "hidden1.weight")


def test_every_file_the_readme_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_the_example_with_a_module_of_ones_own_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "own_module.py"), run_name="__main__")
    assert "loaded again, sparsity 90.0%" in capsys.readouterr().out
