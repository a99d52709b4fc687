"""What trackers are told, and what TensorBoard and MLflow, the real ones, read back."""

from __future__ import annotations

import math
import os
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

import widthwise as ww
from widthwise.errors import InputError, InputTypeError
from widthwise.store import Store
from widthwise.tracking import (
    MLflowTracker,
    StoreFollower,
    TensorBoardTracker,
    TrackedRun,
    Tracker,
    open_tracker,
    recording,
)
from widthwise.training import Family, TrainConfig, objective_for, train

HOSTILE = "a/../b</script>|$x\n" + "long" * 200


@dataclass(frozen=True)
class Config:
    width: int


class Memory(Tracker):
    """A tracker of ten lines, as a user may write one."""

    def __init__(self):
        self.runs = []

    def run(self, name, settings):
        self.runs.append(Remembered(name, dict(settings)))
        return self.runs[-1]


class Remembered(TrackedRun):
    def __init__(self, name, settings):
        self.name, self.settings, self.values, self.results, self.state = name, settings, [], {}, "open"

    def _log(self, step, values):
        self.values.append((step, dict(values)))

    def _conclude(self, results):
        self.results = dict(results)

    def end(self, *, failed=False):
        self.state = "failed" if failed else "ended"


def test_a_run_ends_by_itself_and_says_whether_it_failed():
    tracker = Memory()
    with tracker.run("a", {}) as run:
        run.log(0, {"loss": 1})
        run.conclude({"loss": 0.5, "note": "text", "flag": True, "huge": 10**20})
    with pytest.raises(ZeroDivisionError), tracker.run("b", {}):
        1 / 0  # noqa: B018
    assert [run.state for run in tracker.runs] == ["ended", "failed"]
    assert tracker.runs[0].values == [(0, {"loss": 1.0})]
    assert tracker.runs[0].results == {"loss": 0.5, "huge": 1e20}


@pytest.mark.parametrize(
    ("step", "values", "message"),
    [
        (0, {"loss": "low"}, "values: got 'low' for 'loss', allowed are numbers"),
        (0, {"loss": None}, "values: got None"),
        (0, [1.0], r"values: got \[1.0\] of type list"),
        (0.5, {}, "step: got 0.5"),
        (-1, {}, "step: got -1"),
    ],
)
def test_what_is_no_value_is_refused(step, values, message):
    with pytest.raises((InputError, InputTypeError), match=message):
        Memory().run("a", {}).log(step, values)


def test_the_training_loop_tells_each_network_its_curve_once():
    tracker = Memory()
    torch.manual_seed(0)
    family = Family([ww.models.mlp(4, 2, width=3) for _ in range(2)])
    x, y = torch.randn(20, 4), torch.randint(2, (20,))
    config, objective = TrainConfig(epochs=7, batch_size=5), objective_for("classification")
    runs = [tracker.run(str(i), {}) for i in range(2)]
    told = recording(runs, "accuracy")
    done = train(family, (x, y), config, objective, seeds=[0, 1], validation=(x, y), record_every=3, after_epoch=told)
    for i, run in enumerate(tracker.runs):
        assert run.values == [(epoch, {"accuracy": values[i]}) for epoch, values in done.curve]
    assert [epoch for epoch, _ in tracker.runs[0].values] == [3, 6, 7]


def test_a_comparison_tells_every_row():
    tracker = Memory()
    found = ww.compare("digits", factors=(2,), methods=("sparse",), seeds=2, train=TrainConfig(epochs=2), track=tracker)
    assert [run.name for run in tracker.runs] == [row.label for row in found.rows]
    for run, row in zip(tracker.runs, found.rows, strict=True):
        assert (run.settings["width"], run.settings["data"]) == (row.width, "digits")
        assert run.values == [(epoch, {"validation accuracy": value}) for epoch, value in row.curve]
        assert run.results["test accuracy"] == row.mean
        assert run.state == "ended"


def test_a_store_is_followed_each_run_once(tmp_path):
    tracker, path = Memory(), tmp_path / "runs.sqlite"
    follower = StoreFollower(tracker, path, every=0)
    follower()
    assert not path.exists()
    with Store(path) as store:
        store.put("sweep", [(Config(1), {"loss": 0.5})])
        follower("a status, as a sweep gives")
        store.put("sweep", [(Config(1), {"loss": 0.5}), (Config(2), {"loss": 0.25})])
        store.put("other", [(Config(3), {"loss": 0.125})])
    assert (follower.look(), follower.look()) == (1, 0)
    assert [(run.settings["width"], run.results) for run in tracker.runs] == [(1, {"loss": 0.5}), (2, {"loss": 0.25})]


def test_the_arguments_of_a_sweep_are_settings_of_their_own(tmp_path):
    tracker = Memory()
    follower = StoreFollower(tracker, tmp_path / "results.sqlite", every=0)
    run = ww.sweep.Run("dual", {"c": 0.5, "activation": "relu"})
    with Store(tmp_path / "results.sqlite") as store:
        store.put("sweep", [(run, {"g": 0.25})])
    assert follower.look() == 1
    assert tracker.runs[0].settings == {"type": "Run", "entry": "dual", "version": 1, "c": 0.5, "activation": "relu"}


def test_a_follower_waits_between_two_looks(tmp_path):
    tracker, path = Memory(), tmp_path / "runs.sqlite"
    follower = StoreFollower(tracker, path, every=1e6)
    follower()
    with Store(path) as store:
        store.put("sweep", [(Config(1), {"loss": 0.5})])
    follower()
    assert tracker.runs == []
    assert follower.look() == 1


@pytest.mark.parametrize("where", ["", "tensorboard", "tensorboard:", "wandb:x", ":x"])
def test_a_place_that_is_none_is_refused(where):
    with pytest.raises(InputError, match="allowed are tensorboard:FOLDER and mlflow:FOLDER-OR-ADDRESS"):
        open_tracker(where)


def told(tracker):
    """What every tracker below is told; the second run has hostile names and values, the third fails."""
    with tracker.run("one", {"lr": 0.1, "method": "snip", "wide": True}) as run:
        for step in range(3):
            run.log(step, {"loss": 1 / (step + 1)})
        run.conclude({"test": 0.75})
    with tracker.run(HOSTILE, {HOSTILE: HOSTILE, "n": 10**400, "none": None}) as run:
        run.log(5, {"odd |$ name": math.nan, "inf": math.inf, "huge": 10**400})
    with pytest.raises(ZeroDivisionError), tracker.run("one", {"lr": 0.2}):
        1 / 0  # noqa: B018


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_told(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
    )
    tracker = open_tracker(f"tensorboard:{tmp_path / 'logs'}")
    assert isinstance(tracker, TensorBoardTracker)
    told(tracker)
    folders = {path.name: path for path in (tmp_path / "logs").iterdir()}
    assert {"one", "one-2"} < set(folders)
    assert all(path.resolve().parent == (tmp_path / "logs").resolve() for path in folders.values())

    def read(name):
        found = accumulator.EventAccumulator(str(folders[name]))
        found.Reload()
        return found

    one = read("one")
    assert {e.step: e.value for e in one.Scalars("loss")} == pytest.approx({0: 1.0, 1: 0.5, 2: 1 / 3})
    assert one.Scalars("test")[0].value == 0.75
    assert "_hparams_/session_start_info" in one.summary_metadata
    odd = read(next(name for name in folders if not name.startswith("one")))
    assert math.isnan(odd.Scalars("odd |$ name")[0].value)
    assert odd.Scalars("huge")[0].value == math.inf
    assert "failed/text_summary" in read("one-2").Tags()["tensors"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning", "ignore::FutureWarning")
def test_mlflow_keeps_what_was_told_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    from mlflow import MlflowClient

    calls = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: calls.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: calls.append(address))
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    tracker = open_tracker(f"mlflow:{tmp_path / 'runs'}")
    assert isinstance(tracker, MLflowTracker)
    told(tracker)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("widthwise")
    assert str(tmp_path) in experiment.artifact_location
    runs = sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.start_time)
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED", "FAILED"]
    one, odd, _ = runs
    assert one.data.params == {"lr": "0.1", "method": "snip", "wide": "True"}
    assert one.data.metrics["test"] == 0.75
    history = client.get_metric_history(one.info.run_id, "loss")
    assert {m.step: m.value for m in history} == pytest.approx({0: 1.0, 1: 0.5, 2: 1 / 3})
    assert math.isnan(odd.data.metrics["odd __ name"])
    assert len(odd.data.params) == 3
    again = MLflowTracker(tmp_path / "runs")
    assert again.run("more", {}) is not None
    assert calls == []


@pytest.mark.parametrize(
    ("module", "make"), [("torch.utils.tensorboard", TensorBoardTracker), ("mlflow", MLflowTracker)]
)
def test_a_library_that_is_missing_is_named(module, make, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=r"not installed .* pip install 'widthwise\["):
        make(tmp_path)


class Busy(BaseHTTPRequestHandler):
    """Answers everything with 503, which MLflow asks again by itself."""

    def do_GET(self):
        self.server.asked += 1
        self.send_error(503)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("retries", "asked"), [(None, 1), ("2", 3)])
def test_a_server_that_does_not_answer_is_told_at_once_unless_the_environment_wants_patience(
    retries, asked, monkeypatch
):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if retries is not None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        server.asked = 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(InputError, match="to: got 'http://127.0.0.1:.*, where no MLflow answers"):
                open_tracker(f"mlflow:http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
        assert server.asked == asked
    assert os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == retries
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
