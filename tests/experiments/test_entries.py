"""Every figure and table by its name: each runs at smoke scale, says whether its claim held, and stands as listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from widthwise.experiments import registry, states
from widthwise.experiments.claims import Claim, Verdict, judged, sentence, substitute_for
from widthwise.experiments.command import reproduce
from widthwise.experiments.states import State

RESULTS = Path(__file__).parents[2] / "docs" / "results"

OF_THE_PAPERS = {
    "wider-nets": ["fig1", "fig3", *(f"fig{i}" for i in range(5, 15)), "table1"],
    "two-layer-compression": ["fig2", "fig3", "fig4"],
    "asymmetrical-scaling": [f"fig{i}" for i in range(1, 12)],
    "linearized-difference-networks": [*(f"fig{i}" for i in range(1, 6)), "table1"],
    "robust-pruning": [*(f"fig{i}" for i in range(1, 6)), *(f"table{i}" for i in range(1, 11))],
}


def is_of_paper(name: str) -> bool:
    return name.partition("/")[2].startswith(("fig", "table"))


@pytest.mark.parametrize("name", registry.names())
def test_each_runs_at_smoke_scale_and_says_whether_its_claim_held(name, tmp_path):
    (lines,) = reproduce(name, tmp_path, scale="smoke", threads=1)
    claim, short = registry.claim_of(name), name.partition("/")[2]
    record = json.loads((tmp_path / f"{short}-smoke.json").read_text())
    assert len({tuple(row) for row in record["rows"]}) == 1
    assert (tmp_path / f"{short}-smoke.svg").stat().st_size > 1000
    assert (claim is not None) >= is_of_paper(name)
    said = [line for line in lines if line.startswith("claim: ")]
    if claim is None:
        assert not said
        return
    assert [f"claim: {claim.text}: undetermined" in line for line in said] == [True]
    assert record["claim"]["verdict"] == "undetermined"
    assert record["substitute"] == (claim.stand_in if claim.data else None)
    assert lines[0].startswith("substitute data: ") == bool(claim.data)
    assert "substitute data" in record["claim"]["why"] or not claim.data


def test_every_figure_and_table_of_the_five_papers_is_there():
    for paper, wanted in OF_THE_PAPERS.items():
        there = [name for name in registry.experiments(paper) if is_of_paper(f"{paper}/{name}")]
        assert set(wanted) <= set(there)


def test_the_states_are_those_of_the_committed_results():
    found = states.gather(RESULTS)
    assert states.known() == found, "run `python -m widthwise.experiments.states docs/results`"
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    assert states.page(text, found) == text, "run `python -m widthwise.experiments.states docs/results`"
    for name, state in found.items():
        assert (state.word == "beyond the paper") == (registry.claim_of(name) is None)


def test_a_claim_is_not_decided_by_smoke_sizes_or_other_data():
    claim = Claim("more is more", "2", lambda rows: Verdict(rows[0]["x"] > 1, str(rows[0]["x"]), "less"), data="mnist")
    record = {"scale": "small", "rows": [{"x": 3}]}
    assert judged(claim, record) == Verdict(True, "3", "less")
    assert judged(claim, record | {"scale": "smoke"}).held is None
    other = judged(claim, record | {"substitute": "digits"})
    assert sentence(claim, other) == (
        "claim: more is more: undetermined: substitute data, digits for mnist (ours: 3; the paper: 2)"
    )
    assert [substitute_for(claim, *given) for given in (("small", None), ("small", "mnist"), ("small", "a/path"))] == [
        None,
        None,
        None,
    ]
    assert substitute_for(claim, "paper", "digits") == substitute_for(claim, "smoke", None) == "digits"
    assert substitute_for(None, "smoke", None) is None


def test_states_follow_the_results_of_the_largest_scale(tmp_path, monkeypatch):
    claims = {
        "a/fig1": Claim("c", "t|u", lambda rows: Verdict(rows[0]["x"] > 1, "o", "w" if rows[0]["x"] <= 1 else "")),
        "a/fig2": Claim("c", "t", lambda rows: Verdict(None, "o", "w"), needs="a GPU"),
        "a/fig3": Claim("c", "t", lambda rows: Verdict(None, "o", "w"), needs="data: D"),
        "a/fig4": Claim("c", "t", lambda rows: Verdict(None, "o", "w")),
    }
    monkeypatch.setattr(states, "names", lambda: [*claims, "a/fig5", "a/more"])
    monkeypatch.setattr(states, "claim_of", claims.get)
    (tmp_path / "a").mkdir()

    def commit(name: str, scale: str, x: int) -> None:
        text = json.dumps({"scale": scale, "rows": [{"x": x}]})
        (tmp_path / "a" / f"{name}-{scale}.json").write_text(text)

    commit("fig1", "small", 2)
    commit("fig2", "small", 2)
    assert {name: str(state) for name, state in states.gather(tmp_path).items()} == {
        "a/fig1": "matches (small)",
        "a/fig2": "needs a GPU: undetermined at small, w",
        "a/fig3": "needs data: D",
        "a/fig4": "not run",
        "a/fig5": "undetermined: no claim to hold it against",
        "a/more": "beyond the paper",
    }
    commit("fig1", "paper", 0)
    assert str(states.gather(tmp_path)["a/fig1"]) == "differs (paper): w"
    page = states.page("before\n<!-- entries: begin -->old<!-- entries: end -->\nafter\n", states.gather(tmp_path))
    assert page.startswith("before\n<!-- entries: begin -->\n\n| entry |")
    assert page.endswith("<!-- entries: end -->\nafter\n")
    assert r"| [a/fig1](a/fig1-paper.svg) | c | t\|u | o | differs (paper): w |" in page
    assert states.page(page, states.gather(tmp_path)) == page


def test_a_state_reads_as_a_line():
    assert str(State("differs", "small", "why")) == "differs (small): why"
