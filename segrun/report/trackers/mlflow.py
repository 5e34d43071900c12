"""MLflow (extra `mlflow`)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from segrun.errors import import_extra
from segrun.events import EpochDone, Event
from segrun.files import write_json
from segrun.report.trackers.scalars import event_scalars, flat_config, result_scalars
from segrun.report.trackers.trackers import RunStatus
from segrun.schema import read_json

MLFLOW_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
METRICS_PER_BATCH, PARAMS_PER_BATCH = 1000, 100  # MLflow's limits
Retries = Annotated[int, Ge(0), Le(10)]  # MLflow refuses more than 10
DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")


class _Id(TypedDict):
    """mlflow.json"""

    tracking_uri: str
    run_id: str


class MLflow:
    """A tracker with one MLflow run per run folder.

    The id of the MLflow run is kept in mlflow.json, so that a resumed run continues there, unless the tracking URI has
    changed.

    Raises:
        MissingExtraError: mlflow is not installed, or only mlflow-skinny, which cannot use databases.
    """

    def __init__(self, tracking_uri: str | None, experiment: str, retries: Retries) -> None:
        """
        Args:
            tracking_uri: A server, a database or a folder; None for MLflow's default.
            experiment: Name of the MLflow experiment.
            retries: How often a request to a server is repeated. The delay doubles each time.
        """
        self._mlflow = import_extra("mlflow", "mlflow")
        if (tracking_uri or self._mlflow.get_tracking_uri()).startswith(DATABASES):
            import_extra("sqlalchemy", "mlflow")
        if tracking_uri and ":" not in tracking_uri and tracking_uri != "databricks":
            tracking_uri = Path(tracking_uri).expanduser().absolute().as_uri()
        self.tracking_uri, self.experiment = tracking_uri, experiment
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(retries)
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3.17 refuses a folder otherwise

    def __call__(self, folder: Path) -> MLflowRun:
        client, id_file = self._mlflow.MlflowClient(self.tracking_uri), folder / "mlflow.json"
        known = read_json(id_file, _Id, "Delete it to begin a new MLflow run.") if id_file.is_file() else {}
        if known.get("tracking_uri") == client.tracking_uri:
            run_id = known["run_id"]
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = client.create_run(self._experiment_id(client), run_name=folder.name).info.run_id
            write_json(id_file, {"tracking_uri": client.tracking_uri, "run_id": run_id})
            self._log_config(client, run_id, flat_config(folder))
        return MLflowRun(client, run_id, self._mlflow.entities.Metric, folder)

    def _log_config(self, client: Any, run_id: str, config: Mapping[str, Any]) -> None:
        params = [self._mlflow.entities.Param(key, str(value)) for key, value in config.items()]
        for start in range(0, len(params), PARAMS_PER_BATCH):
            client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])

    def _experiment_id(self, client: Any) -> str:
        """The id of the experiment, which is created if there is none."""
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            try:
                return str(client.create_experiment(self.experiment))
            except self._mlflow.MlflowException:  # another job of a sweep may just have created it
                experiment = client.get_experiment_by_name(self.experiment)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)


class MLflowRun:
    """Sends numbers to MLflow, once per epoch, because each request may go to a server."""

    def __init__(self, client: Any, run_id: str, metric_class: Any, folder: Path) -> None:
        self.client, self.run_id, self.metric_class, self.folder = client, run_id, metric_class, folder
        self.unsent: list[Any] = []

    def __call__(self, event: Event) -> None:
        step, scalars = event_scalars(event)
        self._add(scalars, step)
        if isinstance(event, EpochDone):
            self._send()

    def close(self, status: RunStatus) -> None:
        """Send what is left, the result of a finished run, and the status."""
        if status == "finished":
            result = result_scalars(self.folder)
            self._add(result, int(result["result/best_epoch"]))
        self._send()
        self.client.set_terminated(self.run_id, MLFLOW_STATUS[status])

    def _add(self, scalars: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self.unsent += [self.metric_class(name, value, now, step) for name, value in scalars.items()]

    def _send(self) -> None:
        while self.unsent:
            self.client.log_batch(self.run_id, metrics=self.unsent[:METRICS_PER_BATCH])
            del self.unsent[:METRICS_PER_BATCH]
