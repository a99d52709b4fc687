"""The page on finite networks: its code runs, and what it names exists."""

import re
from pathlib import Path

import pytest

import widthwise as ww

PAGE = (Path(__file__).parents[1] / "docs" / "finite-networks.md").read_text(encoding="utf-8")


def test_its_code_runs(capsys):
    scope = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, scope)
    assert float((scope["net"](scope["x"]) - scope["y"]).detach().square().mean()) < 0.5
    assert len(capsys.readouterr().out.split()) == 3
    lasso = scope["sparse"]
    assert lasso.score(scope["features"], scope["product"]) > 0.9
    assert 0 < (lasso[-1].coef_ != 0).sum() < scope["features"].shape[1] / 2
    assert scope["signs"].score(scope["features"], scope["product"] > 0) > 0.9


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`ww\.([\w.]+)", PAGE))))
def test_names_exist(name):
    found = ww
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
