"""A Ray cluster, or an embedded one on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import Any

from widthwise.errors import InputError
from widthwise.executor.base import Done, Task, attempt, bound_threads, cores

__all__ = ["LOCAL", "Cluster"]

LOCAL = "local"
_REACH = 20.0  # seconds to find a cluster
_RECOUNT = 2.0  # seconds between looks at how many nodes there are
_STORE = 100 * 2**20  # bytes of shared memory of an embedded cluster; results are small


class Cluster:
    """An :class:`~widthwise.executor.base.Executor` on Ray. Nodes may come and go.

    Args:
        address: ``HOST:PORT`` of a running cluster, ``"auto"`` for the one of this machine, or ``"local"``.
        jobs: tasks at most at the same time; all the cluster has room for by default.
        threads: of each; a task takes as many of Ray's CPUs.
    """

    def __init__(self, address: str, jobs: int | None, threads: int) -> None:
        self._ray = ray = _imported()
        self._jobs, self.threads = jobs, threads
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        if address == LOCAL:
            room = (jobs or cores()) * threads
            quiet |= {"num_cpus": room, "include_dashboard": False, "object_store_memory": _STORE}
            ray.init(address=LOCAL, **quiet)
        else:
            _check_reachable(address)
            ray.init(address=address, **quiet)
        self._attempt = ray.remote(_attempt).options(num_cpus=threads, max_retries=0)
        self._keys: dict[Any, str] = {}
        self._room, self._counted = 0, -_RECOUNT

    @property
    def slots(self) -> int:
        """Tasks that the nodes there are now can work on at the same time."""
        if time.monotonic() - self._counted >= _RECOUNT:
            self._room = int(self._ray.cluster_resources().get("CPU", 0)) // self.threads
            self._counted = time.monotonic()
        return self._room if self._jobs is None else min(self._room, self._jobs)

    @property
    def free(self) -> int:
        """How many more tasks would start at once."""
        return self.slots - len(self._keys)

    def submit(self, key: str, task: Task, *arguments: Any) -> None:
        """Hand a task to the cluster."""
        self._keys[self._attempt.remote(key, task, arguments, self.threads)] = key

    def next(self, timeout: float) -> Done | None:
        """A task that ended, at most ``timeout`` seconds from now."""
        if not self._keys:
            time.sleep(timeout)
            return None
        ready, _ = self._ray.wait(list(self._keys), timeout=timeout)
        if not ready:
            return None
        key = self._keys.pop(ready[0])
        try:
            done: Done = self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            return Done(key, error=f"its worker was lost ({type(error).__name__})", trace=str(error), lost=True)
        return done

    def close(self) -> None:
        """Cancel what is under way and leave the cluster; an embedded one ends."""
        for reference in self._keys:
            self._ray.cancel(reference, force=True)
        self._keys = {}
        self._ray.shutdown()


def _attempt(key: str, task: Task, arguments: tuple[Any, ...], threads: int) -> Done:
    bound_threads(threads)
    return attempt(key, task, arguments)


def _imported() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leave the devices as they are, and do not warn
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"ray: Ray cannot be imported ({error}); install it with `pip install 'widthwise[ray]'`"
        ) from error
    if ray.is_initialized():
        raise InputError("ray: this process is connected to a cluster already; call ray.shutdown() first")
    return ray


def _check_reachable(address: str) -> None:
    """A client that finds nobody keeps on trying for minutes."""
    reason = _unreachable(address)
    if reason:
        raise OSError(
            f"ray: cannot reach a cluster at {address} ({reason}); start one with `ray start --head --port 6379` and "
            "give HOST:6379, look for a firewall between, or use the address local"
        )


def _unreachable(address: str) -> str:
    """Why there is no cluster at an address; empty if there is one."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address != "auto":
        if not host or not port.isdecimal():
            raise InputError(f"ray: got {address!r}, allowed are HOST:PORT, 'auto' and 'local'")
        try:
            socket.create_connection((host, int(port)), timeout=_REACH / 4).close()
        except (OSError, OverflowError) as error:
            return str(error)
    return "" if address.startswith("ray://") else _unhealthy(address)


def _unhealthy(address: str) -> str:
    """The same of an address where somebody listens, asked in a process that can be stopped."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    command += [] if address == "auto" else ["--address", address]
    try:
        found = subprocess.run(command, capture_output=True, timeout=_REACH, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {_REACH:g} seconds"
    if b"AuthenticationError" in found.stderr:
        return "it asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN if it is not in ~/.ray/auth_token"
    return "" if found.returncode == 0 else "what answers there is no healthy cluster"
