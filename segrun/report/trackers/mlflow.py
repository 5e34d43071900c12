"""MLflow (extra `mlflow`)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from segrun.errors import import_extra
from segrun.events import EpochDone, Event
from segrun.files import write_json
from segrun.report.trackers.scalars import results, scalars, settings
from segrun.report.trackers.trackers import Ended

STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
METRICS, PARAMS = 1000, 100  # that MLflow takes at once
DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")


class MLflow:
    """A run of MLflow for each run folder, in whose mlflow.json its id is kept: a training that goes on, goes on there,
    unless it is tracked elsewhere now.

    Raises:
        MissingExtraError: mlflow is not installed, or only the part of it that knows no databases.
    """

    def __init__(self, tracking_uri: str | None, experiment: str, retries: int) -> None:
        self._mlflow = import_extra("mlflow", "mlflow")
        if (tracking_uri or self._mlflow.get_tracking_uri()).startswith(DATABASES):
            import_extra("sqlalchemy", "mlflow")  # which mlflow-skinny does without
        if tracking_uri and ":" not in tracking_uri and tracking_uri != "databricks":
            tracking_uri = Path(tracking_uri).expanduser().absolute().as_uri()
        self.tracking_uri, self.experiment = tracking_uri, experiment
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(retries)
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3.17 refuses a folder otherwise

    def __call__(self, folder: Path) -> MLflowRun:
        client, kept = self._mlflow.MlflowClient(self.tracking_uri), folder / "mlflow.json"
        known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        if known.get("tracking_uri") == client.tracking_uri:
            client.update_run(known["run_id"], status="RUNNING")
        else:
            run_id = client.create_run(self._experiment_id(client), run_name=folder.name).info.run_id
            known = {"tracking_uri": client.tracking_uri, "run_id": run_id}
            write_json(kept, known)
            params = [self._mlflow.entities.Param(key, str(value)) for key, value in settings(folder).items()]
            for first in range(0, len(params), PARAMS):
                client.log_batch(run_id, params=params[first : first + PARAMS])
        return MLflowRun(client, known["run_id"], self._mlflow.entities.Metric, folder)

    def _experiment_id(self, client: Any) -> str:
        if found := client.get_experiment_by_name(self.experiment):
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(self.experiment))
        except self._mlflow.MlflowException:  # another job of a sweep was quicker
            if found := client.get_experiment_by_name(self.experiment):
                return str(found.experiment_id)
            raise


class MLflowRun:
    """Numbers are sent together once an epoch: each sending may go to a server."""

    def __init__(self, client: Any, run_id: str, metric: Any, folder: Path) -> None:
        self.client, self.run_id, self.metric, self.folder = client, run_id, metric, folder
        self.waiting: list[Any] = []

    def __call__(self, event: Event) -> None:
        place, values = scalars(event)
        self._add(values, place)
        if isinstance(event, EpochDone):
            self._send()

    def close(self, ended: Ended) -> None:
        if ended == "finished":
            found = results(self.folder)
            self._add(found, int(found["result/best_epoch"]))
        self._send()
        self.client.set_terminated(self.run_id, STATUS[ended])

    def _add(self, values: dict[str, float], place: int) -> None:
        now = int(time.time() * 1000)
        self.waiting += [self.metric(name, value, now, place) for name, value in values.items()]

    def _send(self) -> None:
        while self.waiting:
            self.client.log_batch(self.run_id, metrics=self.waiting[:METRICS])
            del self.waiting[:METRICS]
