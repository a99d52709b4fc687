"""What happens around runs: claims, failures, losses, two sweeps at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from inline import Inline

from widthwise.store import Store
from widthwise.sweep import Entry, Plan, Status
from widthwise.sweep import claims as module
from widthwise.sweep.claims import Claims, State
from widthwise.sweep.plan import KIND
from widthwise.sweep.schedule import work_off

SAMPLES = Path(__file__).with_name("sample_runs.py")


def plan_of(function: str, folder: Path, n: int = 5, **fixed: object) -> Plan:
    return Plan(Entry(f"{SAMPLES}:{function}"), {"log": str(folder / "log"), **fixed}, {"x": range(n)})


def worked_off(plan: Plan, folder: Path, executor: Inline, retries: int = 0) -> Status:
    with Store(folder / "r.sqlite") as store:
        runs = plan.runs()
        status = Status(len(runs))
        work_off(runs, plan.entry, Claims(store, retries), executor, status, lambda status: None)
        assert store._db.execute("SELECT count(*) FROM claims").fetchone() == (0,)
    return status


def executed(folder: Path) -> list[int]:
    return sorted(map(int, (folder / "log").read_text().split()))


def test_every_run_is_run_once_and_never_again(tmp_path):
    plan = plan_of("noted", tmp_path)
    status = worked_off(plan, tmp_path, Inline())
    assert (status.done, status.failed, status.left) == (5, {}, 0.0)
    assert worked_off(plan, tmp_path, Inline()).done == 5
    assert worked_off(plan_of("noted", tmp_path, 7), tmp_path, Inline()).done == 7
    assert executed(tmp_path) == list(range(7))
    with Store(tmp_path / "r.sqlite") as store:
        assert {c["arguments"]["x"]: r for c, r in store.all(KIND)} == {x: {"y": x + 1} for x in range(7)}
        assert all(seconds >= 0 for seconds in store.seconds(KIND).values())


def test_a_failure_that_says_all_has_no_trace_of_our_own_code(tmp_path):
    plan = Plan(Entry("train"), {"data": "digits", "epochs": 1}, {"width": [0]})
    (failure,) = worked_off(plan, tmp_path, Inline()).failed.values()
    assert failure.error.endswith("width: got 0, allowed is a whole number, at least 1")
    assert failure.trace == failure.error


def test_a_failure_is_kept_with_its_trace_and_stops_nothing(tmp_path):
    status = worked_off(plan_of("failing", tmp_path, until=9), tmp_path, Inline())
    assert status.done == 4
    (failure,) = status.failed.values()
    assert failure.error == "ArithmeticError: no luck with 1"
    assert 'raise ArithmeticError(f"no luck with {x}")' in failure.trace
    assert executed(tmp_path) == list(range(5))


@pytest.mark.parametrize(("retries", "done"), [(1, 4), (2, 5), (5, 5)])
def test_failures_are_tried_again_as_asked(tmp_path, retries, done):
    status = worked_off(plan_of("failing", tmp_path, until=3), tmp_path, Inline(), retries)
    assert status.done == done
    assert executed(tmp_path).count(1) == min(retries + 1, 3)


def test_the_same_command_tries_failed_runs_anew(tmp_path):
    plan = plan_of("failing", tmp_path, until=2)
    assert worked_off(plan, tmp_path, Inline()).done == 4
    assert worked_off(plan, tmp_path, Inline()).done == 5


def test_a_lost_worker_costs_no_try_but_a_run_that_kills_workers_is_to_blame(tmp_path):
    plan = plan_of("noted", tmp_path)
    status = worked_off(plan, tmp_path, Inline(losses=3))
    assert (status.done, status.retried) == (5, 3)
    one = Plan(plan.entry, {"log": str(tmp_path / "log"), "x": 99})
    status = worked_off(one, tmp_path, Inline(losses=100))
    assert [f.error for f in status.failed.values()] == ["its process was killed by SIGKILL"]


def test_two_sweeps_on_one_store_share_out_the_runs(tmp_path):
    plan = plan_of("noted", tmp_path, 40, seconds=0.005)
    found: list[Status] = []
    threads = [threading.Thread(target=lambda: found.append(worked_off_(plan, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status.done for status in found] == [40] * 3
    assert executed(tmp_path) == list(range(40))
    assert sum(len(status.seconds) for status in found) == 40


def worked_off_(plan: Plan, folder: Path) -> Status:
    """Without a look at the claims, which others may still hold."""
    with Store(folder / "r.sqlite") as store:
        runs = plan.runs()
        status = Status(len(runs))
        work_off(runs, plan.entry, Claims(store, 0), Inline(1), status, lambda status: None)
    return status


def test_a_claim_holds_until_it_runs_out_or_its_owner_dies(tmp_path, monkeypatch):
    with Store(tmp_path / "r.sqlite") as store:
        ours, theirs = Claims(store, 0), Claims(store, 0)
        assert ours.take("a") is State.OURS
        assert theirs.take("a") is State.ELSEWHERE
        assert ours.take("a") is State.OURS
        clocks = {"time": module.time.time(), "monotonic": module.time.monotonic()}
        for name, now in clocks.items():
            monkeypatch.setattr(module.time, name, lambda now=now: now + passed)
        passed = module.LEASE - 1
        ours.renew()
        passed = module.LEASE + 1
        assert theirs.take("a") is State.ELSEWHERE
        passed = 3 * module.LEASE
        assert theirs.take("a") is State.OURS
        ours.release()
        assert ours.take("a") is State.ELSEWHERE
        theirs.release()
        assert ours.take("a") is State.OURS


def test_a_dead_owners_claim_is_free_at_once_but_not_another_machines(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with Store(tmp_path / "r.sqlite") as store:
        for name, place in (("here", module._place()), ("there", "elsewhere")):
            store._db.execute("INSERT INTO claims VALUES (?, ?, 1e12)", (name, f"{place}/{gone.pid}/1"))
        store._db.execute("INSERT INTO claims VALUES ('alive', ?, 1e12)", (f"{module._place()}/{os.getppid()}/1",))
        ours = Claims(store, 0)
        assert [ours.take(name) for name in ("here", "there", "alive")] == [
            State.OURS,
            State.ELSEWHERE,
            State.ELSEWHERE,
        ]


def test_a_clock_set_back_neither_ends_nor_prolongs_a_claim(tmp_path, monkeypatch):
    with Store(tmp_path / "r.sqlite") as store:
        theirs, ours = Claims(store, 0), Claims(store, 0)
        assert theirs.take("a") is State.OURS
        now, began = module.time.time(), module.time.monotonic()
        monkeypatch.setattr(module.time, "time", lambda: now - 86400 + passed)
        monkeypatch.setattr(module.time, "monotonic", lambda: began + passed)
        passed = 1
        assert ours.take("a") is State.ELSEWHERE
        passed = module.LEASE - 1
        theirs.renew()
        passed = module.LEASE + 2
        assert ours.take("a") is State.ELSEWHERE
        passed = 2 * module.LEASE + 3  # its owner has said nothing since
        assert ours.take("a") is State.OURS


def test_with_the_clock_set_back_a_run_fails_as_often_as_allowed(tmp_path, monkeypatch):
    ticks = iter(range(2**31, 0, -3600))
    monkeypatch.setattr("time.time", lambda: next(ticks))
    status = worked_off(plan_of("failing", tmp_path, n=2, until=9), tmp_path, Inline(), retries=2)
    assert (status.done, len(status.failed), status.retried) == (1, 1, 2)
    with Store(tmp_path / "r.sqlite") as store:
        claims = Claims(store, 2)
        claims.fail(next(iter(status.failed)), "the last", "")
        assert claims.failure(next(iter(status.failed))).error == "the last"


@pytest.mark.parametrize("what", ["list", "nested"])
def test_results_are_flat(tmp_path, what):
    status = worked_off(Plan(Entry(f"{SAMPLES}:odd"), {"what": what}), tmp_path, Inline())
    assert "InputTypeError: run: returned" in next(iter(status.failed.values())).error


def test_results_become_json(tmp_path):
    worked_off(Plan(Entry(f"{SAMPLES}:odd"), {"what": "values"}), tmp_path, Inline())
    with Store(tmp_path / "r.sqlite") as store:
        (result,) = store.results(KIND).values()
    assert result == {"tensor": 2.0, "nan": None, "text": "a", "flag": True, "none": None}
