"""The matrix of what widthwise promises to run on: ``nox`` runs what can be installed here, ``nox -l`` lists it.

``nox -s tests`` is every Python with the oldest and the newest PyTorch; ``nox -s "tests-3.11(lowest)"`` one of them;
``nox -s lint types`` what ``make lint types`` does; ``nox -s smoke`` installs the wheel and the sdist into environments
of their own and uses them away from the repository. A Python that is not installed is skipped, and said so.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13")
NEWEST_TORCH = "2.13.*"
TOOLS = ("pytest>=8.2", "pytest-xdist>=3.6", "hypothesis>=6.100", "mpmath>=1.3")
ROOT = Path(__file__).parent

nox.options.sessions = ("lint", "types", "tests", "smoke")
nox.options.error_on_missing_interpreters = False


def lowest(python: str) -> list[str]:
    """Each dependency at the least version that pyproject.toml allows and that Python has wheels of.

    NumPy 1.26 and its contemporaries know Python 3.11 and 3.12, not 3.13: there only PyTorch is held down.
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    pinned = [requirement.replace(">=", "==") for requirement in wanted]
    return [pin for pin in pinned if python == "3.11" or pin.startswith("torch==")]


@nox.session(python=PYTHONS)
@nox.parametrize("versions", [nox.param("lowest", id="lowest"), nox.param("newest", id="newest")])
def tests(session: nox.Session, versions: str) -> None:
    """The quick tests, against the oldest or the newest versions allowed."""
    pins = lowest(str(session.python)) if versions == "lowest" else [f"torch=={NEWEST_TORCH}"]
    session.install("-e", ".", *TOOLS, *pins)
    # scikit-learn 1.6 gives pytest 9 its checks as a generator
    lenient = ["-W", "ignore::pytest.PytestRemovedIn10Warning"] if versions == "lowest" else []
    session.run("python", "-m", "pytest", "-n", "auto", *lenient, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style."""
    session.install("ruff>=0.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types."""
    session.install("-e", ".[dev]", f"torch=={NEWEST_TORCH}")
    session.run("mypy")


@nox.session
def smoke(session: nox.Session) -> None:
    """The wheel and the sdist, each installed into an empty environment and used without the repository."""
    session.install("build>=1.2")
    session.run("python", "tools/smoke.py", *session.posargs)
