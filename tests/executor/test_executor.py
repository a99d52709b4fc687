"""Executors: results, errors and deaths come back; threads are bounded; nothing outlives its parent."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from widthwise.errors import InputError, InputTypeError
from widthwise.executor import Executor, executing, local
from widthwise.executor.cluster import Cluster

SAMPLES = str(Path(__file__).parents[1] / "sweep")


def drained(executor: Executor, n: int) -> dict[str, object]:
    found = {}
    deadline = time.monotonic() + 120
    while len(found) < n and time.monotonic() < deadline:
        done = executor.next(1)
        if done is not None:
            found[done.key] = done
    return found


def go_through_everything(executor: Executor) -> None:
    """What every executor must do; its two workers share the start-up time."""
    executor.submit("good", math.sqrt, 4.0)
    executor.submit("bad", math.sqrt, -1.0)
    assert executor.free == 0
    found = drained(executor, 2)
    assert (found["good"].value, found["good"].error, found["good"].lost) == (2.0, "", False)
    assert found["bad"].error == "ValueError: math domain error"
    assert not found["bad"].lost
    executor.submit("exit", sys.exit, 3)
    executor.submit("dies", os._exit, 3)
    found = drained(executor, 2)
    assert found["exit"].error == "SystemExit: 3"
    assert found["dies"].lost
    executor.submit("after", math.sqrt, 9.0)
    assert drained(executor, 1)["after"].value == 3.0


def test_processes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SAMPLES)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    from sample_runs import telling, threads

    heard = []
    with executing(2, threads=1, log=tmp_path / "log", hear=lambda *said: heard.append(said)) as executor:
        go_through_everything(executor)
        assert os.environ["OMP_NUM_THREADS"] == "7"
        executor.submit("threads", threads)
        executor.submit("kill", os.kill, os.getpid(), 0)
        found = drained(executor, 2)
        assert found["threads"].value == {"torch": 1, "most": 1, "said": "1"}
        executor.submit("prints", os.write, 1, b"said by a worker")
        drained(executor, 1)
        assert "said by a worker" in (tmp_path / "log").read_text()
        with pytest.raises(InputTypeError, match="cannot be sent to another process"):
            executor.submit("no", lambda: 1)
        executor.submit("telling", telling, 3)
        assert drained(executor, 1)["telling"].value == "told"
        assert heard == [("telling", 0), ("telling", 1), ("telling", 2)]
        executor.submit("shared", torch.sum, torch.ones(10))
        executor.submit("lock", threading.Lock)
        found = drained(executor, 2)
        assert found["shared"].value == 10
        assert "what it returned cannot be sent" in found["lock"].error
        monkeypatch.setitem(sys.modules, "only_here", only_here := types.ModuleType("only_here"))
        exec("def function(): pass", only_here.__dict__)
        executor.submit("here", only_here.function)
        assert (
            "cannot import it (ModuleNotFoundError: No module named 'only_here')" in drained(executor, 1)["here"].error
        )
        os.kill(executor._idle[0].process.pid, signal.SIGINT)  # Ctrl-C reaches all of a terminal
        executor.submit("goes on", math.sqrt, 4.0)
        assert drained(executor, 1)["goes on"].value == 2.0
        pids = [worker.process.pid for worker in executor._idle]
        executor.submit("long", time.sleep, 1000)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_workers_of_a_killed_parent_end(tmp_path):
    code = (
        "import time, sys, os\n"
        "from widthwise.executor import executing\n"
        "if __name__ == '__main__':\n"
        "    with executing(1) as e:\n"
        "        e.submit('pid', os.getpid); print(e.next(100).value, flush=True)\n"
        "        e.submit('long', time.sleep, 1000); time.sleep(1000)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _lives(worker):
        time.sleep(0.05)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("arguments", [{"jobs": 0}, {"jobs": 1.5}, {"threads": 0}])
def test_bad_numbers(arguments):
    with pytest.raises((InputError, InputTypeError), match=next(iter(arguments))), executing(**arguments):
        pass


class TestRay:
    """Of a Ray cluster."""

    @pytest.fixture(autouse=True)
    def _ray(self):
        pytest.importorskip("ray", reason="Ray is not installed", exc_type=ImportError)

    def test_an_embedded_cluster(self):
        with executing(2, "local") as executor:
            assert executor.slots == 2
            go_through_everything(executor)

    @pytest.mark.parametrize("address", ["here", "host:port", "6379", ":6379", ""])
    def test_an_address_that_is_none(self, address):
        with pytest.raises(InputError, match="ray: got .*HOST:PORT"), executing(1, address):
            pass

    def test_an_address_where_nobody_listens(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"cannot reach a cluster at 127.0.0.1:{port} .*ray start --head"),
            executing(1, f"127.0.0.1:{port}"),
        ):
            pass

    @pytest.mark.slow
    def test_an_address_where_something_else_listens(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            began = time.monotonic()
            with pytest.raises(OSError, match="cannot reach"), executing(1, f"127.0.0.1:{other.getsockname()[1]}"):
                pass
            assert time.monotonic() - began < 60


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'widthwise\[ray\]'"):
        Cluster("local", 1, 1)


def test_ctrl_c_while_a_worker_starts_leaves_no_worker(monkeypatch):
    """It waits until the process is there; for one that is lost the interpreter would wait for ever at its end."""
    real = local._uninterrupted

    @contextmanager
    def interrupted():
        with real():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            yield

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), executing(2) as executor:  # noqa: PT012  # what is left of it counts
            executor.submit("first", math.sqrt, 4.0)  # the first start lets Ctrl-C through before there is a process
            monkeypatch.setattr(local, "_uninterrupted", interrupted)
            try:
                executor.submit("never", math.sqrt, 4.0)
            finally:
                monkeypatch.undo()
    finally:
        signal.signal(signal.SIGINT, before)
    assert multiprocessing.active_children() == []
