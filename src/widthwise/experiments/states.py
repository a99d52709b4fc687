"""How each figure and table stands: what its committed results say of the paper's claim.

``python -m widthwise.experiments.states docs/results`` reads the results committed there, holds them against the
claims, and writes the table of ``docs/results/README.md`` and the file from which ``widthwise reproduce --list`` reads.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from widthwise._atomic import write_text
from widthwise.experiments.claims import judged
from widthwise.experiments.outcome import paths_of
from widthwise.experiments.registry import claim_of, names

__all__ = ["State", "gather", "known", "main", "page", "text_of"]

_FILE = "states.json"
_BEGIN, _END = "<!-- entries: begin -->", "<!-- entries: end -->"
_WORDS = {True: "matches", False: "differs", None: "undetermined"}


@dataclass(frozen=True)
class State:
    """How an experiment stands.

    Attributes:
        word: ``"matches"``, ``"differs"``, ``"undetermined"``, ``"needs a GPU"``, ``"needs data: ..."``, ``"not run"``,
            or ``"beyond the paper"`` for what is no figure or table of it.
        scale: of the committed results; empty if there are none.
        why: it differs, or cannot be told.
        ours: what was measured, in brief.
    """

    word: str
    scale: str = ""
    why: str = ""
    ours: str = ""

    def __str__(self) -> str:
        scale = f" ({self.scale})" if self.scale else ""
        return f"{self.word}{scale}" + (f": {self.why}" if self.why else "")


def gather(results: Path) -> dict[str, State]:
    """The states of all experiments by ``PAPER/NAME``, from a folder of results; the largest scale counts."""
    return {name: _state(name, results) for name in names()}


def _state(name: str, results: Path) -> State:
    claim, (paper, _, short) = claim_of(name), name.partition("/")
    found = [path for scale in ("paper", "small") if (path := paths_of(results / paper, short, scale)[0]).exists()]
    if claim is None:
        is_of_paper = short.startswith(("fig", "table"))
        return State("undetermined", why="no claim to hold it against") if is_of_paper else State("beyond the paper")
    if not found:
        return State(f"needs {claim.needs}" if claim.needs else "not run")
    record = json.loads(found[0].read_text(encoding="utf-8"))
    verdict = judged(claim, record)
    if verdict.held is None and claim.needs:
        return State(f"needs {claim.needs}", "", f"undetermined at {record['scale']}, {verdict.why}", verdict.ours)
    return State(_WORDS[verdict.held], record["scale"], verdict.why, verdict.ours)


def known() -> dict[str, State]:
    """The states that came with the package."""
    found = json.loads((resources.files("widthwise.experiments") / _FILE).read_text(encoding="utf-8"))
    return {name: State(**found[name]) if name in found else State("not run") for name in names()}


def text_of(states: Mapping[str, State]) -> str:
    """The file of the states, a line each."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(asdict(state))}" for name, state in states.items())
    return f"{{\n{lines}\n}}\n"


def page(text: str, states: Mapping[str, State]) -> str:
    """A page with the table of the states between its two marks."""
    head, _, rest = text.partition(_BEGIN)
    return f"{head}{_BEGIN}\n\n{_table(states)}\n\n{_END}{rest.partition(_END)[2]}"


def _table(states: Mapping[str, State]) -> str:
    lines = ["| entry | the paper claims | theirs | ours | state |", "| --- | --- | --- | --- | --- |"]
    for name, state in states.items():
        claim = claim_of(name)
        if claim is not None:
            paper, _, short = name.partition("/")
            shown = f"[{name}]({paper}/{short}-{state.scale}.svg)" if state.scale else name
            cells = (shown, claim.text, claim.theirs, state.ours or "–", str(state))
            lines.append(" | ".join(cell.replace("|", "\\|") for cell in cells).join(("| ", " |")))
    others = [f"`{name}`" for name in states if claim_of(name) is None]
    return "\n".join([*lines, "", f"Beyond the papers' own figures and tables: {', '.join(others)}."])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both files; 0.

    Args:
        arguments: of the command line, those of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m widthwise.experiments.states")
    parser.add_argument("results", type=Path, help="the folder of committed results, with a README.md")
    results: Path = parser.parse_args(arguments).results
    states, readme = gather(results), results / "README.md"
    write_text(Path(__file__).with_name(_FILE), text_of(states))
    write_text(readme, page(readme.read_text(encoding="utf-8"), states))
    return 0


if __name__ == "__main__":
    sys.exit(main())
