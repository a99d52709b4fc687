"""The page on theory names functions and tests that exist."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "theory.md"
QUOTED = re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("reference", sorted({q for q in QUOTED if q.startswith("tests/")}))
def test_tests_exist(reference):
    path, _, name = reference.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("reference", sorted({q for q in QUOTED if re.fullmatch(r"[a-z]+(\.\w+)+", q)}))
def test_functions_exist(reference):
    module, _, name = reference.rpartition(".")
    assert callable(getattr(importlib.import_module(f"widthwise.{module}"), name))
