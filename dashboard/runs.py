"""What the dashboard knows: studies, sweeps and frontier rows, all read from MLflow."""

import os
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from infomri_core.frontier import Row
from infomri_core.metric_names import rows_of

_SQLITE = "sqlite:///"
_PAGE = 1000
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
    """One run of a study: the parent of its arms' runs. ``status`` is MLflow's."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    started: datetime
    n_rounds: int
    rounds_done: int

    @property
    def title(self) -> str:
        """For a list: name, start and what is unusual about it."""
        note = "" if self.status == "FINISHED" else f" · {self.status.lower()}"
        return f"{self.name} · {self.started:%Y-%m-%d %H:%M}{note}"


@dataclass(frozen=True)
class Arms:
    """What a sweep's arms have reached: ``rows`` once they were scored, ``dropped`` and why."""

    rows: tuple[Row, ...] = ()
    names: tuple[str, ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)


def tracking_uri(arguments: list[str]) -> str:
    """The store to read: the first argument, else ``INFOMRI_TRACKING_URI``, else ''."""
    return arguments[0] if arguments else os.environ.get("INFOMRI_TRACKING_URI", "")


def studies(uri: str) -> dict[str, str]:
    """Experiment ids by study name, newest first. Raises ``StoreUnreachable``."""
    found = _ask(uri, "search_experiments", max_results=_PAGE, order_by=["last_update_time DESC"])
    return {e.name: e.experiment_id for e in found if e.name != "Default"}


def sweeps(uri: str, experiment_id: str) -> list[Sweep]:
    """The sweeps of a study, newest first; none where an experiment is not InfoMRI's."""
    runs = _ask(
        uri,
        "search_runs",
        experiment_ids=[experiment_id],
        filter_string="tags.`infomri.kind` = 'sweep'",
        max_results=_PAGE,
        order_by=["attributes.start_time DESC"],
    )
    return [_sweep(run) for run in runs]


def arms(uri: str, sweep: Sweep) -> Arms:
    """Arms of a sweep and every frontier row that was logged so far."""
    runs = _ask(
        uri,
        "search_runs",
        experiment_ids=[sweep.experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{sweep.run_id}'",
        max_results=_PAGE,
        order_by=["attributes.start_time ASC"],
    )
    rows = sorted((row for run in runs for row in _rows(run)), key=_order)
    reasons = {_name(run): run.data.tags.get("infomri.dropped", "") for run in runs}
    return Arms(
        rows=tuple(rows),
        names=tuple(reasons),
        dropped={name: why for name, why in reasons.items() if why},
    )


def _rows(run: Any) -> list[Row]:
    values = run.data.params
    arm = Row(
        arm=_name(run),
        sampler=values.get("sampler", "unknown"),
        suppression=values.get("suppression", "none"),
        beta=float(values.get("beta", 0.0)),
        seed=int(values.get("seed", 0)),
        acceleration=0.0,
        rounds=int(values.get("rounds", 0)),
    )
    return rows_of(arm, run.data.metrics)


def _order(row: Row) -> tuple[float, str, float, int]:
    return row.acceleration, row.sampler, row.beta, row.seed


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
    )


def _ask(uri: str, question: str, **arguments: Any) -> list[Any]:
    """All pages of a client's answer."""
    try:
        client = _client(uri)
        page = getattr(client, question)(**arguments)
        answer = list(page)
        while page.token:
            page = getattr(client, question)(**arguments, page_token=page.token)
            answer += page
        return answer
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
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).is_file():
        path = uri.removeprefix(_SQLITE)
        raise StoreUnreachable(f"There is no MLflow store at {path}. Check the path.")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # MLflow's own use of a deprecated SQLAlchemy loader, told once at import.
        warnings.simplefilter("ignore", DeprecationWarning)
        from mlflow import MlflowClient

        return MlflowClient(uri)
