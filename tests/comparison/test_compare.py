"""The main job, end to end, on real data small enough to be quick."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from widthwise import checkpoint, data
from widthwise.comparison import compare, execute, group
from widthwise.comparison.group import Workplace
from widthwise.errors import DataError, InputError, InputTypeError
from widthwise.executor import Done
from widthwise.masks import Mask
from widthwise.store import Store
from widthwise.training import TrainConfig

QUICK = {"factors": (2, 8), "seeds": 2, "train": TrainConfig(epochs=4, lr=0.5)}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    return compare("digits", out=folder, **QUICK), folder


def test_every_way_of_spending_the_budget_is_a_row(quick):
    found, _ = quick
    kinds = {(r.method, r.width) for r in found.rows}
    methods = ("dense", "sparse", "magnitude", "snip")
    assert kinds == {("dense", 3)} | {(m, w) for m in methods for w in (6, 24)}
    assert found.budget == 222
    for row in found.rows:
        assert len(row.test) == len(row.validation) == 2
        assert row.within_budget == (row.method != "dense" or row.width == 3)
        assert row.weights == (222 if row.within_budget else 74 * row.width)
        assert row.connectivity == pytest.approx(row.weights / (74 * row.width))
        assert row.curve[-1][0] == 4
    ranks = sorted(r.rank for r in found.rows if r.within_budget)
    assert ranks == list(range(1, 8))
    assert all(r.rank is None for r in found.rows if not r.within_budget)
    means = {r.rank: r.validation_mean for r in found.rows if r.rank}
    assert [means[i] for i in sorted(means)] == sorted(means.values(), reverse=True)
    assert found.findings[0].count("222 weights")


def test_sparse_rows_are_foretold_before_training(quick):
    found, _ = quick
    for row in found.family("sparse"):
        assert row.predicted > 0
        assert row.measured > 0
    narrow, *_, wide = found.family("dense")
    assert wide.measured < narrow.measured


def test_the_winner_takes_raw_digits_and_scores_what_was_reported(quick):
    found, folder = quick
    splits = data.split(data.load("digits"), standardize="none")
    x, y = splits.test
    model = checkpoint.load(folder / "model.safetensors")
    accuracy = accuracy_score(y, model(x).argmax(1))
    assert any(accuracy == pytest.approx(value, abs=1e-9) for value in found.best.test)
    assert torch.equal(model(x), found.model(x))
    live = sum(int(p.count_nonzero()) for p in model.parameters() if p.dim() > 1)
    assert live == found.budget
    mask = Mask.of(model)
    assert found.best.method == "dense" or mask.kept == found.budget


def test_the_same_command_again_runs_nothing(quick):
    found, folder = quick
    seen = []
    again = compare("digits", out=folder, watch=lambda *args: seen.append(args), **QUICK)
    assert seen == []
    assert again.rows == found.rows


def test_more_seeds_run_only_what_is_new(quick, tmp_path):
    found, folder = quick
    seen = []
    more = compare("digits", out=folder, watch=lambda *args: seen.append(args[2]), **{**QUICK, "seeds": 3})
    assert {label.split()[0] for label in seen} == {"1", "4"}
    for row in more.rows:
        first = next(r for r in found.rows if (r.method, r.width) == (row.method, row.width))
        assert row.test[:2] == first.test


def test_the_same_seed_gives_the_same_numbers_alone_and_in_two_processes(quick, tmp_path):
    found, _ = quick
    alone = compare("digits", out=tmp_path / "a", **QUICK)
    side_by_side = compare("digits", out=tmp_path / "b", jobs=2, **QUICK)
    assert alone.rows == found.rows == side_by_side.rows


def test_killed_at_any_moment_it_goes_on(quick, tmp_path):
    found, _ = quick
    code = (
        "import sys\n"
        "from widthwise.comparison import compare, group\n"
        "from widthwise.training import TrainConfig\n"
        "group._SAVE_EVERY = 0\n"
        "if __name__ == '__main__':\n"
        "    compare('digits', out=sys.argv[1], factors=(2, 8), seeds=2, train=TrainConfig(epochs=4, lr=0.5),\n"
        "            watch=lambda *a: print(a, flush=True))\n"
    )
    out = tmp_path / "out"
    for lines in (2, 5):
        worker = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, text=True)
        for _ in range(lines):
            worker.stdout.readline()
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
    resumed = compare("digits", out=out, **QUICK)
    assert resumed.rows == found.rows
    assert not list((out / "unfinished").glob("*"))


def test_the_state_of_a_group_that_was_killed_after_it_was_stored_goes(quick, monkeypatch):
    found, folder = quick
    asked, checkpoint_of = [], Workplace.checkpoint
    monkeypatch.setattr(
        Workplace, "checkpoint", lambda place, group: asked.append(group) or checkpoint_of(place, group)
    )
    compare("digits", out=folder, **QUICK)
    left = checkpoint_of(Workplace(folder), asked[0])
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"")
    assert compare("digits", out=folder, **QUICK).rows == found.rows
    assert not left.exists()


def test_an_error_in_a_worker_comes_over_as_it_is(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execute, "train_group", full)
    error = execute._work((), None, None, None, "cpu")
    with pytest.raises(OSError, match="No space left"):
        execute._check(Done("0", pickle.loads(pickle.dumps(error))))
    assert "in full" in error.__notes__[0]
    with pytest.raises(OSError, match="killed by SIGKILL; run the same command again"):
        execute._check(Done("0", error="its process was killed by SIGKILL", lost=True))
    with pytest.raises(InputError, match="build: its process cannot import it .*functions and classes of a module"):
        execute._check(Done("0", error="its process cannot import it (AttributeError: build)"))


@pytest.mark.slow
def test_workers_end_with_a_killed_comparison(tmp_path):
    command = [sys.executable, "-m", "widthwise", "compare", "--jobs", "2", "--epochs", "500", "--out", str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True) as process:
        while not list(tmp_path.glob("unfinished/*")) and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and session(process.pid):
        time.sleep(0.05)
    assert not session(process.pid)


def session(leader: int) -> list[str]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            found += [entry.name] if int(session) == leader and state != "Z" else []
    return found


def test_regression_answers_in_the_targets_own_units(shared_data, tmp_path):
    path = shared_data / "uci" / "energy-efficiency.csv"
    found = compare(
        path, target="heating_load", base_width=2, factors=(4,), methods=("sparse",), seeds=2,
        train=TrainConfig(epochs=40, lr=0.05), out=tmp_path,
    )  # fmt: skip
    assert (found.task, found.metric) == ("regression", "R2")
    x, y = data.split(data.load(path, target="heating_load"), standardize="none").test
    value = r2_score(y, checkpoint.load(tmp_path / "model.safetensors")(x).detach())
    assert any(value == pytest.approx(v, abs=1e-4) for v in found.best.test)
    assert found.best.mean > 0.5


class ConvNet(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Linear(36 * width, 10)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


def test_a_users_own_module_and_loader(tmp_path):
    x, y = torch.randn(120, 1, 8, 8), torch.arange(120) % 10
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    options = {"base_width": 2, "factors": (3,), "methods": ("sparse", "snip"), "seeds": 1, "out": tmp_path}
    found = compare(loader, ConvNet, train=TrainConfig(epochs=2), **options)
    assert {(r.method, r.width, r.weights) for r in found.rows} == {
        ("dense", 2, 738), ("sparse", 6, 738), ("snip", 6, 738),
    }  # fmt: skip
    again = checkpoint.load(tmp_path / "model.safetensors", ConvNet(found.best.width))
    assert torch.equal(again(x), found.model(x))
    assert compare(loader, ConvNet, train=TrainConfig(epochs=2), **options).rows == found.rows


def test_a_layer_that_died_is_said(tmp_path):
    found = compare(
        "digits", factors=(32,), methods=("magnitude",), seeds=1, train=TrainConfig(epochs=1),
        scopes={"magnitude": "global"},
    )  # fmt: skip
    assert any("output.weight" in note for note in found.rows[-1].notes)
    assert any("output.weight" in sentence for sentence in found.findings)


def test_diverged_networks_are_said_and_ranked_last():
    found = compare(
        "digits", factors=(8,), methods=("sparse",), seeds=2, train=TrainConfig(epochs=3, lr=1e6), dtype="float32"
    )
    assert all(math.isnan(v) or v >= 0 for r in found.rows for v in r.test)
    assert any("diverged" in sentence for sentence in found.findings)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": "digit"}, InputError, "digits"),
        ({"methods": ("snap",)}, InputError, "did you mean 'snip'"),
        ({"methods": ()}, InputError, "methods: got none"),
        ({"budget": 223}, InputError, r"222 \(width 3\) and 296 \(width 4\)"),
        ({"budget": 10}, InputError, "at least 74"),
        ({"budget": 222, "base_width": 3}, InputError, "exactly one"),
        ({"factors": (1,)}, InputError, "factors: got 1"),
        ({"factors": (2, 2.1)}, InputError, "different widths"),
        ({"factors": (2, 1e6)}, InputError, r"factors: got 1e\+06 at base width 3, whose 222 weights .* at most 74"),
        ({"factors": (1e308,), "depth": 3}, InputError, "factors: got 1e.308 .* at most 80"),
        ({"seeds": 0}, InputError, "seeds: got 0"),
        ({"depth": -1}, InputError, "depth: got -1"),
        ({"activation": "rleu"}, InputError, "relu"),
        ({"standardize": "globl"}, InputError, "global"),
        ({"dtype": "float16"}, InputError, "dtype: got 'float16'"),
        ({"device": "tpu"}, InputError, "device: got 'tpu'"),
        ({"jobs": 0}, InputError, "jobs: got 0"),
        ({"data": (torch.zeros(0, 3), torch.zeros(0))}, DataError, "empty"),
        ({"data": (torch.rand(7, 3), torch.rand(7))}, InputError, "validation part: got target 0 the same in all of 1"),
        ({"data": DataLoader([1, 2, 3])}, InputTypeError, "batches of"),
    ],
)
def test_bad_arguments_are_named_before_anything_runs(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        compare(**{"data": "digits", "out": tmp_path / "out", **QUICK, **arguments})
    assert not (tmp_path / "out").exists()


def test_the_widest_networks_that_are_allowed_are_compared():
    found = compare("digits", factors=(74,), methods=("sparse", "snip"), seeds=1, train=TrainConfig(epochs=1))
    assert {(row.width, row.weights) for row in found.rows} == {(3, 222), (222, 222)}
    assert sum(row.method != "dense" for row in found.rows) == 2


def test_tables_of_few_features_take_the_factors_that_are_there_by_default():
    table = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    train = TrainConfig(epochs=1)
    found = compare((table, table.sum(1)), base_width=2, methods=("sparse",), seeds=1, train=train)
    assert [(row.width, row.weights) for row in found.family("sparse")] == [(w, 6) for w in (2, 4, 8, 16, 32, 64)]
    with pytest.raises(InputError, match="factors: got 33 at base width 2, whose 6 weights .* allowed is at most 32"):
        compare((table, table.sum(1)), base_width=2, factors=(33,), train=train)


@pytest.mark.parametrize(("factors", "said"), [((8,), "factors: got width 24"), ((), "base_width: got width 3")])
def test_networks_that_do_not_fit_into_memory_are_refused_before_any_is_trained(monkeypatch, tmp_path, factors, said):
    monkeypatch.setattr("widthwise._memory.available_memory", lambda device: 2e5 if factors else 1e3)
    monkeypatch.setattr(execute, "train_group", None)
    with pytest.raises(InputError, match=f"{said}; training . networks of it, .* weights each, takes .* are free"):
        compare("digits", **{**QUICK, "factors": factors})


def test_an_epoch_that_takes_long_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(group, "_SAY_EVERY", 0.0)
    seen = []
    train = TrainConfig(epochs=1, batch_size=500)
    compare("digits", factors=(), methods=("dense",), seeds=1, train=train, watch=lambda *a: seen.append(a))
    shares = [done / total for done, total, _ in seen]
    assert shares == pytest.approx([0, 500 / 1079, 1000 / 1079, 1])


def test_an_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        compare("digits", out=tmp_path / "file", **QUICK)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_damaged_checkpoint_is_started_over(quick, tmp_path):
    """A torn file cannot be written by this package, but disks fail."""
    from widthwise.comparison import group

    found, _ = quick
    written = []
    original = group.Workplace.checkpoint

    def damaged(self, runs):
        path = original(self, runs)
        if path not in written:
            written.append(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"torn")
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group.Workplace, "checkpoint", damaged)
        assert compare("digits", out=tmp_path, **QUICK).rows == found.rows


def test_two_at_once_on_one_folder(quick, tmp_path):
    found, _ = quick
    code = (
        "import sys\nfrom widthwise.comparison import compare\nfrom widthwise.training import TrainConfig\n"
        "compare('digits', out=sys.argv[1], factors=(2, 8), seeds=2, train=TrainConfig(epochs=4, lr=0.5))\n"
    )
    out = tmp_path / "out"
    workers = [subprocess.Popen([sys.executable, "-c", code, str(out)]) for _ in range(2)]
    assert [w.wait() for w in workers] == [0, 0]
    with Store(out / "results.sqlite") as store:
        assert len(store.all("network")) == 18
    assert compare("digits", out=out, **QUICK).rows == found.rows
