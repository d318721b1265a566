"""A study in MLflow: one experiment a study, a parent run a sweep, a nested run an arm.

The study never waits for the tracking store, nor fails with it: what cannot be sent is spooled in
the run's folder and sent, in order, when the store answers again.
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from fl_server.mlflow_runs import MlflowRuns, is_permanent
from fl_server.settings import CentreSettings
from fl_server.spool import Record, Spool
from infomri_core.frontier import Row
from infomri_core.metric_names import metrics_of
from infomri_core.plan import Plan

logger = logging.getLogger(__name__)


@final
class Tracker:
    """Reports one run of a plan. No method raises on account of the tracking store.

    After a failure the store is left alone for ``retry_seconds``, so that an unreachable server
    costs a study one timeout a minute at most. A run of the same name is continued.
    """

    def __init__(
        self,
        centre: CentreSettings,
        plan: Plan,
        run_name: str,
        retry_seconds: float = 60.0,
    ) -> None:
        self._runs = MlflowRuns(centre.tracking_uri, centre.artifacts, plan, run_name)
        self._spool = Spool(centre.centre.directory / run_name / "tracking.jsonl")
        self._retry_seconds = retry_seconds
        self._retry_at = 0.0
        self._record({"do": "open"})

    def round(
        self,
        number: int,
        arms: Mapping[str, Mapping[str, float]],
        study: Mapping[str, float] | None = None,
    ) -> None:
        """Log metrics by arm, and those of the whole ``study``, at step ``number``."""
        for arm, metrics in arms.items():
            self._metrics(arm, number, metrics)
        self._metrics(None, number, {"round": number, **(study or {})})

    def result(self, rows: Sequence[Row]) -> None:
        """Log every defined figure of the frontier at its row's last round."""
        for row in rows:
            self._metrics(row.arm, row.rounds, metrics_of(row))

    def dropped(self, arm: str, why: str) -> None:
        """Mark an arm that diverged."""
        self._record({"do": "tag", "arm": arm, "key": "infomri.dropped", "value": why})

    def artifact(self, path: Path) -> None:
        """Attach a file to the parent run."""
        self._record({"do": "artifact", "path": str(path.resolve())})

    def finish(self, status: str) -> None:
        """End all runs: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._retry_at = 0.0
        self._record({"do": "finish", "status": status})

    def flush(self) -> bool:
        """Try to send what was spooled, at once. True when nothing is left."""
        try:
            n_sent = self._spool.drain(self._send)
        except Exception as error:
            self._retry_at = time.monotonic() + self._retry_seconds
            logger.warning("MLflow is out of reach, the study goes on: %s", _short(error))
            return False
        if n_sent > 1:
            logger.info("%d spooled records were sent to MLflow", n_sent)
        return True

    def _metrics(self, arm: str | None, step: int, metrics: Mapping[str, float]) -> None:
        finite = {name: float(v) for name, v in metrics.items() if math.isfinite(v)}
        if finite:
            self._record({"do": "metrics", "arm": arm, "step": step, "metrics": finite})

    def _record(self, record: Record) -> None:
        # Spooled before it is sent: a study that is killed in the call loses nothing either.
        try:
            self._spool.append(record | {"time": time.time_ns() // 1_000_000})
        except OSError as error:
            logger.warning("a tracking record was lost: %s", error)
            return
        if time.monotonic() >= self._retry_at:
            self.flush()

    def _send(self, record: Record) -> None:
        try:
            self._runs.send(record)
        except Exception as error:
            self._runs.forget()
            if not is_permanent(error):
                raise
            logger.warning("MLflow refused a '%s' record: %s", record.get("do"), _short(error))


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0][:300]
