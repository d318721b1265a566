"""The one place that writes to MLflow: runs found or made by tag, records sent to them."""

import json
import logging
import os
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from fl_server.tracking.registry import register
from fl_server.tracking.spool import Record
from infomri_core import __version__
from infomri_core.machine.moved_store import follow_move
from infomri_core.machine.sqlite_uri import PREFIX, sqlite_path
from infomri_core.plan.plan import Arm, Plan
from infomri_core.results.arm_names import federated_name

_BATCH = 1000
_PERMANENT = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST")
_SHOWN_AS = {"mlflow.experimentKind": "custom_model_development"}
"""What makes MLflow's pages show an experiment as model training, with its curves first."""
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own default holds its caller for minutes when a server does not answer.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}


@final
class MlflowRuns:
    """The runs of one study run. ``send`` raises whatever MLflow raises; connects at first use."""

    def __init__(self, uri: str, artifacts: Path, plan: Plan, run_name: str) -> None:
        self._uri = uri
        self._artifacts = artifacts
        self._plan = plan
        self._run_name = run_name
        self._client: Any = None
        self._ids: dict[str | None, str] = {}

    def send(self, record: Record) -> None:
        """Carry out one record; sending it twice leaves the store as sending it once."""
        self._open(record["time"])
        match record["do"]:
            case "open":
                for run_id in self._ids.values():
                    self._client.update_run(run_id, status="RUNNING")
            case "metrics":
                self._log_metrics(record)
            case "tag":
                self._client.set_tag(self._ids[record["arm"]], record["key"], record["value"])
            case "describe":
                text = record["text"].replace("{run_id}", self._ids[None])
                self._client.set_tag(self._ids[None], "mlflow.note.content", text)
            case "artifact":
                self._client.log_artifact(self._ids[None], record["path"])
            case "dataset":
                for run_id in self._ids.values():
                    self._client.log_inputs(run_id, [_dataset(record)])
            case "model":
                run_id = self._ids[record["arm"]]
                about = (record["name"], record["path"], record["tags"])
                register(self._client, run_id, *about, record.get("description", ""))
            case "finish":
                for run_id in reversed(self._ids.values()):
                    self._client.set_terminated(run_id, record["status"], record["time"])

    def load_library(self) -> None:
        """Import MLflow, which takes seconds, without its warnings. For the main thread."""
        load_library(self._uri)

    def forget(self) -> None:
        """Look the runs up again at the next record."""
        self._ids = {}

    def _open(self, start_time: int) -> None:
        if self._ids:
            return
        self._client = self._client or connect(self._uri)
        experiment = self._experiment()
        found = self._find(experiment)
        parent = self._run(experiment, start_time, found.get(None), None, "")
        ids: dict[str | None, str] = {None: parent}
        for arm in self._plan.arms:
            found_id = found.get(arm.name)
            ids[arm.name] = self._run(experiment, start_time, found_id, arm, parent)
        self._ids, self._found = found | ids, found

    def _run_of(self, record: Record) -> str:
        """The run that a record belongs to; made where an arm was trained in another way, too.
        ``KeyError`` for an arm that the plan has not."""
        name = record["arm"]
        if name not in self._ids:
            arm, parent = self._plan.arm(federated_name(name)), self._ids[None]
            place = (self._experiment(), record["time"], self._found.get(name), arm, parent)
            self._ids[name] = self._run(*place, name)
        return self._ids[name]

    def _experiment(self) -> str:
        name = self._plan.study.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        # A server keeps artifacts where it was told to; a local store is told here.
        remote = self._uri.startswith(("http://", "https://"))
        location = None if remote else self._artifacts.resolve().as_uri()
        return self._client.create_experiment(name, location, _SHOWN_AS)

    def _find(self, experiment: str) -> dict[str | None, str]:
        filter_string = f"tags.`infomri.run` = '{self._run_name}'"
        runs = self._client.search_runs([experiment], filter_string, max_results=_BATCH)
        return {run.data.tags.get("infomri.arm"): run.info.run_id for run in runs}

    def _run(
        self,
        experiment: str,
        start_time: int,
        run_id: str | None,
        arm: Arm | None,
        parent: str,
        trained: str = "",
    ) -> str:
        """The run's id; it is made if ``run_id`` is None. Its parameters are there afterwards.
        ``trained``: the name of another training of the arm than the federation's."""
        from mlflow.entities import Param

        tags = {
            "infomri.run": self._run_name,
            "infomri.plan": self._plan.digest,
            "infomri.version": __version__,
            "infomri.kind": "sweep" if arm is None else "arm",
        }
        own = trained or ("" if arm is None else arm.name)
        if arm is not None:
            tags |= {"infomri.arm": own, "mlflow.parentRunId": parent}
        if trained and arm is not None:
            tags["infomri.training"] = trained.removeprefix(f"{arm.name}-")
        if run_id is None:
            name = own or self._run_name
            run_id = self._client.create_run(experiment, start_time, tags, name).info.run_id
        parameters = [Param(key, value) for key, value in parameters_of(self._plan, arm).items()]
        self._client.log_batch(run_id, params=parameters)
        return run_id

    def _log_metrics(self, record: Record) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, record["time"], record["step"])
            for name, value in record["metrics"].items()
        ]
        for start in range(0, len(metrics), _BATCH):
            run_id = self._run_of(record)
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])


def parameters_of(plan: Plan, arm: Arm | None) -> dict[str, str]:
    """What an arm and its study were run with, by the names that MLflow's compare view shows."""
    values = asdict(plan.measurement) | asdict(plan.model) | asdict(plan.training)
    values["task"] = plan.task.kind
    values |= {"study_seed": plan.study.seed, "strategy": plan.aggregation.strategy}
    if plan.privacy is not None:
        values |= asdict(plan.privacy)
    if arm is not None:
        values |= asdict(arm) | arm.options.parameters()
        del values["options"]
    return {name: _text(value) for name, value in values.items()}


def connect(uri: str) -> Any:
    """A client of the tracking store at ``uri``; a SQLite store is created if missing, and
    follows its files where they were moved with it."""
    load_library(uri)
    path = sqlite_path(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            follow_move(path)
    from mlflow import MlflowClient

    # Model versions live in the store that holds the runs, whatever the environment says.
    return MlflowClient(uri, registry_uri=uri)


def load_library(uri: str) -> None:
    """Import what a client of ``uri`` needs; only a process that tracks pays the seconds."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Each lost connection would be logged twice, once by whom we did not ask.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # So would a database that is lost, with a traceback; anyone who sends a record says it once.
    logging.getLogger("mlflow.store.db.utils").addFilter(without_traceback)
    if "mlflow" in sys.modules and not uri.startswith(PREFIX):
        return
    with warnings.catch_warnings():
        # MLflow's own use of a deprecated SQLAlchemy loader, told once at import.
        warnings.simplefilter("ignore", DeprecationWarning)
        import mlflow

        if uri.startswith(PREFIX):
            import mlflow.store.model_registry.sqlalchemy_store
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def without_traceback(record: logging.LogRecord) -> bool:
    """Whether a record of another library is shown: not where it is an exception that is raised
    to us as well."""
    return not record.exc_info


def _dataset(record: Record) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=record["name"],
        digest=record["digest"],
        source_type="infomri",
        source=json.dumps({"site": record["name"]}),
        profile=record["profile"],
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", record["context"])])


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def is_permanent(error: Exception) -> bool:
    """Whether sending the same record again would fail again."""
    code = getattr(error, "error_code", None)
    return code in _PERMANENT or isinstance(error, KeyError | FileNotFoundError)
