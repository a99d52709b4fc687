"""Every block of Python in the documentation runs, a page from top to bottom, as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCKS = {
    page.name: found
    for page in sorted(DOCS.glob("*.md"))
    if (found := re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
}
# These are run, and what they give is looked at, by a test of their own.
ELSEWHERE = {
    "compression.md": "compression/test_compression_page.py",
    "finite-networks.md": "test_finite_networks_page.py",
    "infinite-width.md": "infinite/test_infinite_page.py",
    "node-scaling.md": "test_node_scaling_page.py",
    "pruning.md": "test_pruning_page.py",
    "widening.md": "widening/test_widening_page.py",
    "tables.md": "estimators/test_tables_page.py",
}
WITHOUT = {
    "README.md",
    "compatibility.md",
    "fuzzing.md",
    "numerics.md",
    "reliability.md",
    "theory.md",
}  # tables that lead to code or tests


@pytest.mark.parametrize("name", [name for name in BLOCKS if name not in ELSEWHERE])
def test_it_runs(name, request, tmp_path, monkeypatch):
    code = "\n".join(BLOCKS[name])
    if "../shared/data" in code:
        request.getfixturevalue("shared_data")
    (tmp_path / "checkout").mkdir()
    (tmp_path / "shared").symlink_to(ROOT.parent / "shared")
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setenv("WIDTHWISE_CACHE", str(tmp_path / "cache"))
    if "__main__" in code:  # its processes import the file
        script = tmp_path / "checkout" / "page.py"
        script.write_text(code, encoding="utf-8")
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return
    names = {"__name__": "__main__"}
    exec(compile(code, str(DOCS / name), "exec"), names)
    assert set(names) - {"__name__", "__builtins__"}


@pytest.mark.parametrize(("name", "test"), ELSEWHERE.items())
def test_the_others_have_a_test_of_their_own(name, test):
    assert name in BLOCKS
    assert name in (ROOT / "tests" / test).read_text(encoding="utf-8")


def test_every_guide_shows_python():
    assert {page.name for page in DOCS.glob("*.md")} == {*BLOCKS, *WITHOUT}
