"""What the pages on sweeps and on distributed training show, run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from widthwise.sweep import read_plan

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("sweeps", "distributed")}


def code(page: str, language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)
    return block


def test_the_example_is_the_one_shown():
    path = ROOT / "examples" / "sweep.toml"
    assert tomllib.loads(code("sweeps", "toml")) == tomllib.loads(path.read_text())
    assert len(read_plan(path).runs()) == 18


def test_the_sweep_from_python_runs(tmp_path):
    (tmp_path / "mine.py").write_text(code("sweeps", "python"))
    found = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == "6 6 []\n"


def test_the_training_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code("distributed", "python"), names)
    assert names["curve"][-1][1] > 0.8
    assert (tmp_path / "distributed" / "model.safetensors").exists()


@pytest.mark.slow
def test_the_example_runs_under_torchrun(tmp_path):
    script = ROOT / "examples" / "distributed.py"
    for command in (
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        [sys.executable],
    ):
        arguments = [script, "--epochs", "3", "--out", tmp_path / str(len(command))]
        found = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, timeout=200)
        assert re.search(r"ranks: [12], validation accuracy: 0\.9", found.stdout)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_it_links_to_is_there(page):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert (ROOT / "docs" / target).exists(), target
