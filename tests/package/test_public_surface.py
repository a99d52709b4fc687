"""What the package shows to the outside: names, types, descriptions, versions; importing it does nothing else."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

import widthwise as ww
from widthwise.cli import app

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "widthwise"
MODULES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTED = sorted(
    name
    for page in (ROOT / "docs" / "reference").glob("*.md")
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
)
with (ROOT / "pyproject.toml").open("rb") as _file:
    PROJECT = tomllib.load(_file)["project"]


def exports(tree):
    """The names in ``__all__``, or nothing where it is worked out."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return ast.literal_eval(node.value) if isinstance(node.value, ast.List) else []
    return None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_module_says_what_it_offers(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = exports(tree)
    assert names is not None, "no __all__"
    assert len(names) == len(set(names))
    assert ast.get_docstring(tree), "no docstring"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_module_offers_all_that_has_no_underscore(path):
    """But for what a decorator or a table of the module hands on: commands, kernels, activations by name."""
    if path.name.startswith("_") and path.name != "__init__.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    handed_on = {n.name for n in defined if isinstance(n, ast.FunctionDef) and n.decorator_list}
    public = {n.name for n in defined if not n.name.startswith("_")} - handed_on
    tables = [n.value for n in tree.body if isinstance(n, ast.Assign | ast.AnnAssign) and n.value is not None]
    public -= {n.id for table in tables for n in ast.walk(table) if isinstance(n, ast.Name)}
    assert public <= set(exports(tree))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_what_is_offered_is_there_and_described(name):
    module = import_module(name)
    assert module.__doc__
    for offered in module.__all__:
        value = getattr(module, offered)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{name}.{offered}"


def refuses(function):
    source = inspect.getsource(function)
    return bool(re.search(r"raise (Input|Data|Collapse)|\bcheck_(type|choice|number|integer|finite)\(", source))


def described():
    """Public functions and methods by name, each once."""
    seen = {}
    for name in DOCUMENTED:
        module = import_module(name)
        for offered in module.__all__:
            value = getattr(module, offered)
            if inspect.isfunction(value):
                seen.setdefault(value, f"{name}.{offered}")
            elif inspect.isclass(value) and value.__module__.startswith("widthwise"):
                for key, method in vars(value).items():
                    if inspect.isfunction(method) and not key.startswith("_"):
                        seen.setdefault(method, f"{name}.{offered}.{key}")
    return {name: value for value, name in seen.items()}


PUBLIC = described()
INNER = re.compile(r"infinite\.\w+\.(pairs|trace)$")  # how layers work inside; said once, by their base class
ELSEWHERE = re.compile(
    r"[Aa]rguments( and( the)? errors)?( are| as)?( those)? (of|as|in)|arguments.* are those of|see :func:"
)


@pytest.mark.parametrize("name", [name for name in PUBLIC if not INNER.search(name)])
def test_public_functions_say_what_they_take_and_refuse(name):
    function, text = PUBLIC[name], inspect.getdoc(PUBLIC[name]) or ""
    arguments = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
    told = ELSEWHERE.search(" ".join(text.split()))
    assert told or len(arguments) < 3 or "Args:" in text
    assert told or not refuses(function) or "Raises:" in text


def test_it_is_typed_and_says_so():
    assert (PACKAGE / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_one_version_everywhere():
    assert ww.__version__ == metadata.version("widthwise")
    assert re.fullmatch(r"\d+\.\d+\.\d+", ww.__version__)
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_licence_citation_and_policies_are_there_and_agree():
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(f"{PROJECT['license']} License")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"license: {PROJECT['license']}" in citation
    assert "title: widthwise" in citation
    assert "DeprecationWarning" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "Report a weakness privately" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_the_matrix_is_what_is_promised():
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    pythons = ast.literal_eval(re.search(r"^PYTHONS = (.*)$", source, re.MULTILINE)[1])
    promised = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert list(pythons) == promised
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    newest = re.search(r'^NEWEST_TORCH = "([\d.]+)\.\*"$', source, re.MULTILINE)[1]
    assert f"torch=={newest}." in (ROOT / "constraints.txt").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    for requirement in PROJECT["dependencies"]:
        name, least = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        assert f"{name} {least}" in page, requirement


QUIET_IMPORT = """
import logging, os, random, sys, threading, warnings
import numpy, torch
def state():
    return {
        "environment": dict(os.environ), "warnings": list(warnings.filters), "logging": list(logging.root.handlers),
        "threads": (torch.get_num_threads(), threading.active_count()), "dtype": torch.get_default_dtype(),
        "random": (torch.get_rng_state().tolist(), random.getstate()), "folder": os.getcwd(), "hook": sys.excepthook,
    }
before = state()
import widthwise
after = state()
heavy = ("matplotlib", "numba", "ray", "mlflow", "tensorboard", "onnx", "pandas")
print([key for key in before if before[key] != after[key]], [name for name in heavy if name in sys.modules])
"""


def test_importing_changes_nothing_and_loads_nothing_heavy(tmp_path):
    done = subprocess.run([sys.executable, "-c", QUIET_IMPORT], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[] []", "")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_completes_and_tells_its_version():
    from typer.testing import CliRunner

    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"widthwise {ww.__version__}"
    assert "--install-completion" in CliRunner().invoke(app, ["--help"], terminal_width=200).output
    source = {"_WIDTHWISE_COMPLETE": "complete_bash", "COMP_WORDS": "widthwise com", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], env=source, prog_name="widthwise")
    assert {"compare", "compress"} <= set(done.output.split())
