"""What the dashboard knows: studies, sweeps, arms, curves and files, all read from MLflow."""

import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from infomri_core.machine.moved_store import beside, local_path
from infomri_core.machine.sqlite_uri import sqlite_path
from infomri_core.results.frontier import FEDERATED, Row
from infomri_core.results.metric_names import ALIVE, rows_of
from infomri_core.tasks.registry import DEFAULT

_PAGE = 1000
NEWEST = 100
"""How many runs of a study can be chosen: nobody reads a list of thousands."""
SILENCE_SECONDS = 180.0
"""A process says every few seconds that it lives; after so many without a word it does not."""
_SWEEPS = "tags.`infomri.kind` = 'sweep'"
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class StoreUnreachable(Exception):
    """The MLflow store does not answer; the text says why and what to do."""


@dataclass(frozen=True)
class Sweep:
    """One run of a study: the parent of its arms' runs. ``status`` is MLflow's; ``heard``: when
    the study's process last said that it lives, None where it never did."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    started: datetime
    n_rounds: int
    rounds_done: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    heard: datetime | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it ended without a word: its process was killed, or cannot reach MLflow."""
        if self.status != "RUNNING" or self.heard is None:
            return False
        return (datetime.now(UTC) - self.heard).total_seconds() > SILENCE_SECONDS

    @property
    def is_running(self) -> bool:
        """Whether more is to come."""
        return self.status == "RUNNING" and not self.is_silent

    @property
    def title(self) -> str:
        """For a list: start, what is unusual about it, and the name, whose end may be cut off."""
        state = "silent" if self.is_silent else self.status.lower()
        note = "" if self.status == "FINISHED" else f" · {state}"
        return f"{self.started:%Y-%m-%d %H:%M}{note} · {self.name}"


@dataclass(frozen=True)
class Arms:
    """What a sweep's arms have reached: ``rows`` once they were scored, ``dropped`` and why, and
    where a ``lost_state`` of the optimizer was replaced by a fresh one.

    ``runs``: run ids by arm name; ``parameters`` and ``metrics`` (names) by arm name.
    """

    rows: tuple[Row, ...] = ()
    runs: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    lost_state: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The arms' names, by sampler, beta and seed."""
        return tuple(self.runs)


@dataclass(frozen=True)
class Curve:
    """One metric over a run: steps, values, and when each was logged (Unix seconds)."""

    steps: tuple[int, ...]
    values: tuple[float, ...]
    times: tuple[float, ...]


def tracking_uri(arguments: list[str]) -> str:
    """The store to read: the first argument, else ``INFOMRI_TRACKING_URI``, else ''."""
    return arguments[0] if arguments else os.environ.get("INFOMRI_TRACKING_URI", "")


def studies(uri: str) -> dict[str, str]:
    """Experiment ids by study name, that of the newest sweep first; {} where there is no sweep.

    Raises ``StoreUnreachable``, as all functions here do.
    """
    found = _ask(uri, "search_experiments", max_results=_PAGE, order_by=["last_update_time DESC"])
    ids = {e.name: e.experiment_id for e in found if e.name != "Default"}
    newest = sweeps(uri, *ids.values(), limit=1) if ids else []
    if not newest:
        return {}
    return dict(sorted(ids.items(), key=lambda item: item[1] != newest[0].experiment_id))


def sweeps(uri: str, *experiment_ids: str, limit: int = NEWEST) -> list[Sweep]:
    """The newest sweeps of these experiments, newest first; none where none is InfoMRI's."""
    found = _call(
        uri,
        "search_runs",
        experiment_ids=list(experiment_ids),
        filter_string=_SWEEPS,
        max_results=limit,
        order_by=["attributes.start_time DESC"],
    )
    return [_sweep(run) for run in found]


def arms(uri: str, experiment_id: str, run_id: str) -> Arms:
    """Arms of the sweep ``run_id`` and every frontier row that was logged so far."""
    found = _ask(
        uri,
        "search_runs",
        experiment_ids=[experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{run_id}'",
        max_results=_PAGE,
    )
    of_arms = sorted((run for run in found if "infomri.arm" in run.data.tags), key=_arm_order)
    rows = sorted((row for run in of_arms for row in _rows(run)), key=_order)
    return Arms(
        rows=tuple(rows),
        runs={_name(run): run.info.run_id for run in of_arms},
        dropped=_tagged(of_arms, "infomri.dropped"),
        lost_state=_tagged(of_arms, "infomri.lost_state"),
        parameters={_name(run): dict(run.data.params) for run in of_arms},
        metrics={_name(run): dict(run.data.metrics) for run in of_arms},
    )


def _tagged(runs: Iterable[Any], tag: str) -> dict[str, str]:
    """The value of a tag by arm name, of the runs that have it."""
    return {_name(run): run.data.tags[tag] for run in runs if run.data.tags.get(tag)}


def curve(uri: str, run_id: str, metric: str) -> Curve:
    """Every value of a run's metric, in the order of its steps; empty where it has none."""
    found = _call(uri, "get_metric_history", run_id=run_id, key=metric)
    points = sorted((m.step, m.timestamp / 1000, m.value) for m in found)
    steps, times, values = zip(*points) if points else ((), (), ())
    return Curve(steps, values, times)


def files(uri: str, run_id: str) -> dict[str, int]:
    """Sizes in bytes of a run's files, by name."""
    folder = _folder(uri, run_id)
    if folder is not None:
        inside = (path for path in folder.iterdir() if path.is_file())
        return {path.name: path.stat().st_size for path in inside}
    return {f.path: f.file_size or 0 for f in _call(uri, "list_artifacts", run_id=run_id)}


def read_file(uri: str, run_id: str, name: str) -> bytes | None:
    """The content of a run's file; None where it has none of that name."""
    if name not in files(uri, run_id):
        return None
    folder = _folder(uri, run_id)
    if folder is not None:
        return (folder / name).read_bytes()
    with tempfile.TemporaryDirectory() as copy:
        path = _call(uri, "download_artifacts", run_id=run_id, path=name, dst_path=copy)
        return Path(path).read_bytes()


def missing_files(uri: str, run_id: str) -> str:
    """Where a run's files should lie and do not, '' where they do or no one has written any."""
    store = sqlite_path(uri)
    if store is None:
        return ""
    location = _call(uri, "get_run", run_id=run_id).info.artifact_uri
    named = local_path(location)
    if named is None or beside(store.absolute(), location, run_id) is not None:
        return ""
    return str(named)


def _folder(uri: str, run_id: str) -> Path | None:
    """Where the run's files lie on this machine, also after the store was moved with them; None
    where MLflow has to be asked for them, or there are none."""
    store = sqlite_path(uri)
    if store is None:
        return None
    return beside(store.absolute(), _call(uri, "get_run", run_id=run_id).info.artifact_uri, run_id)


def _rows(run: Any) -> list[Row]:
    values = run.data.params
    arm = Row(
        arm=_name(run),
        sampler=values.get("sampler", "unknown"),
        suppression=values.get("suppression", "none"),
        beta=float(values.get("beta", 0.0)),
        seed=int(values.get("seed", 0)),
        acceleration=0.0,
        task=values.get("task", DEFAULT),
        rounds=int(values.get("rounds", 0)),
        training=run.data.tags.get("infomri.training", FEDERATED),
        psnr_target=_number(values.get("psnr_target")),
    )
    return rows_of(arm, run.data.metrics)


def _order(row: Row) -> tuple[float, str, float, int]:
    return row.acceleration, row.sampler, row.beta, row.seed


def _arm_order(run: Any) -> tuple[str, float, int]:
    values = run.data.params
    return values.get("sampler", ""), float(values.get("beta", 0.0)), int(values.get("seed", 0))


def _number(text: str | None) -> float | None:
    return None if text in (None, "None") else float(text or 0)


def _name(run: Any) -> str:
    return run.data.tags.get("infomri.arm", run.info.run_name)


def _sweep(run: Any) -> Sweep:
    return Sweep(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.data.tags.get("infomri.run", run.info.run_name),
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC).astimezone(),
        n_rounds=int(run.data.params.get("rounds", 0)),
        rounds_done=int(run.data.metrics.get("round", 0)),
        metrics=dict(run.data.metrics),
        heard=_time(run.data.tags.get(ALIVE)),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromtimestamp(float(text), tz=UTC).astimezone()


def _ask(uri: str, question: str, **arguments: Any) -> list[Any]:
    """All pages of a client's answer."""
    page = _call(uri, question, **arguments)
    answer = list(page)
    while page.token:
        page = _call(uri, question, **arguments, page_token=page.token)
        answer += page
    return answer


def _call(uri: str, question: str, **arguments: Any) -> Any:
    try:
        return getattr(_client(uri), question)(**arguments)
    except StoreUnreachable:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0][:200]
        raise StoreUnreachable(
            f"MLflow at {uri} does not answer ({reason}). Start it, or give the right address."
        ) from error


@lru_cache(maxsize=4)
def _client(uri: str) -> Any:
    # MLflow would make an empty store where there is none: reading must not write.
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise StoreUnreachable(f"There is no MLflow store at {path}. Check the path.")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # MLflow's own use of a deprecated SQLAlchemy loader, told once at import.
        warnings.simplefilter("ignore", DeprecationWarning)
        from mlflow import MlflowClient

        return MlflowClient(uri)
