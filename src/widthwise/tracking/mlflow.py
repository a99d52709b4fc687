"""Runs as MLflow keeps them: in a local database, or wherever its address leads."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from widthwise.errors import InputError
from widthwise.tracking.base import TrackedRun, Tracker

__all__ = ["MLflowTracker"]

_PARAMETERS = 100  # MLflow takes so many at once
_LONGEST, _LONGEST_NAME = 500, 250  # characters of a value and of a name
_AT_FIRST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MLflowTracker(Tracker):
    """Writes for MLflow: settings as parameters, values and results as metrics.

    MLflow's report of its own use is turned off unless ``MLFLOW_DISABLE_TELEMETRY`` says otherwise, so that a local
    address asks the network for nothing.

    Args:
        to: a folder, in which ``mlflow.db`` is made, or an address that MLflow understands, such as
            ``http://localhost:5000``. ``mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db`` shows the former.
        experiment: name of the experiment that the runs belong to; made if it does not exist.

    Raises:
        InputError: if MLflow is not installed, or none answers at the address.
        OSError: if the folder cannot be made.
    """

    def __init__(self, to: str | os.PathLike[str], experiment: str = "widthwise") -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        address, artifacts = os.fspath(to), None
        if "://" not in address:
            folder = Path(address).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            address, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
        self._mlflow = _mlflow(local=artifacts is not None)
        self._client = self._mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
        with _first_answer(self._mlflow, address):
            known = self._client.get_experiment_by_name(experiment)
            self._experiment = known.experiment_id if known else self._client.create_experiment(experiment, artifacts)

    def run(self, name: str, settings: Mapping[str, Any]) -> TrackedRun:
        """A new run of the experiment."""
        started = self._client.create_run(self._experiment, run_name=name)
        return _Run(self._mlflow, self._client, started.info.run_id, settings)


class _Run(TrackedRun):
    def __init__(self, mlflow: Any, client: Any, name: str, settings: Mapping[str, Any]) -> None:
        self._entities, self._client, self._name, self._step = mlflow.entities, client, name, 0
        parameters = [self._entities.Param(_key(k), str(v)[:_LONGEST]) for k, v in settings.items()]
        for i in range(0, len(parameters), _PARAMETERS):
            client.log_batch(name, params=parameters[i : i + _PARAMETERS])

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        now, self._step = int(1000 * time.time()), step
        metrics = [self._entities.Metric(_key(k), v, now, step) for k, v in values.items()]
        self._client.log_batch(self._name, metrics=metrics)

    def _conclude(self, results: Mapping[str, float]) -> None:
        self._log(self._step, results)

    def end(self, *, failed: bool = False) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._name, "FAILED" if failed else "FINISHED")


@contextmanager
def _first_answer(mlflow: Any, address: str) -> Iterator[None]:
    """Ask an address once, not for minutes as later on, when runs would be lost; what the environment says holds."""
    ours = {name: value for name, value in _AT_FIRST.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"to: got {address!r}, where no MLflow answers ({said:.200}); allowed is a folder, or the address of a "
            "server that runs"
        ) from error
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _mlflow(local: bool) -> Any:
    try:
        import mlflow

        if local:
            import sqlalchemy  # noqa: F401  # what a local database needs
    except ImportError as error:
        raise InputError(f"mlflow: not installed ({error}); pip install 'widthwise[mlflow]'") from error
    return mlflow


def _key(name: object) -> str:
    """A name with the characters that MLflow allows; it is no path."""
    return re.sub(r"[^\w\-. :]|^\.+", "_", str(name))[:_LONGEST_NAME] or "_"
