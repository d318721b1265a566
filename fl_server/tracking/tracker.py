"""A study in MLflow: one experiment a study, a parent run a sweep, a nested run an arm.

The study never waits for the tracking store, nor fails with it: records are spooled in the run's
folder, and a thread sends them, in order, as long as the store answers.
"""

import hashlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from fl_server.settings import CentreSettings
from fl_server.tracking.runs import MlflowRuns, is_permanent
from fl_server.tracking.spool import Record, Spool
from fl_server.tracking.system_metrics import SystemSampler
from infomri_core.machine.hints import shell_command
from infomri_core.plan.plan import Plan
from infomri_core.results.frontier import Row
from infomri_core.results.metric_names import ALIVE, metrics_of

SPOOL = "tracking.jsonl"
SAMPLE_SECONDS = 10.0
RETRY_SECONDS = 60.0
END_SECONDS = 45.0
"""How long the end of a study waits for a store that is out of reach: it may be restarting."""
_AGAIN_SECONDS = 2.0

logger = logging.getLogger(__name__)


@final
class Tracker:
    """Reports one run of a plan. No method raises on account of the tracking store.

    After a failure the store is left alone for ``retry_seconds``. A run of the same name is
    continued, and is running again if ``opens``. System metrics are taken every
    ``sample_seconds``; 0 takes none. A finished run tries for ``end_seconds`` to send what is
    left. Nothing is recorded or sent once the run is not ``ours``.
    """

    def __init__(
        self,
        centre: CentreSettings,
        plan: Plan,
        run_name: str,
        *,
        retry_seconds: float = RETRY_SECONDS,
        sample_seconds: float = 0.0,
        end_seconds: float = 0.0,
        opens: bool = True,
        ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._runs = MlflowRuns(centre.tracking_uri, centre.artifacts, plan, run_name)
        self._spool = Spool(centre.centre.directory / run_name / SPOOL)
        self._retry_seconds, self._end_seconds = retry_seconds, end_seconds
        self._retry_at = 0.0
        self._ours = ours
        self._lost = False
        self._sample_seconds = sample_seconds or math.inf
        self._datasets: set[str] = set()
        self._wake, self._ended = threading.Event(), threading.Event()
        if opens:
            self._record({"do": "open"})
        # MLflow silences warnings while it is imported, which only the main thread may do.
        self._runs.load_library()
        self._sampler = SystemSampler() if sample_seconds else None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

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

    def phases(self, number: int, seconds: Mapping[str, float]) -> None:
        """Log how long each phase took, at step ``number``."""
        self._metrics(None, number, {f"phase_seconds/{name}": s for name, s in seconds.items()})

    def traffic(self, number: int, n_bytes: Mapping[str, float]) -> None:
        """Log the bytes of round ``number``: ``bytes_out`` of the centre and ``bytes_in``."""
        self._metrics(None, number, n_bytes)

    def result(self, rows: Sequence[Row]) -> None:
        """Log every defined figure of the frontier at its row's last round."""
        for row in rows:
            self._metrics(row.arm, row.rounds, metrics_of(row))

    def dropped(self, arm: str, why: str) -> None:
        """Mark an arm that diverged."""
        self._record({"do": "tag", "arm": arm, "key": "infomri.dropped", "value": why})

    def submitted(self, operator: str) -> None:
        """Mark the study with the operator who submitted or last resumed it."""
        self._record({"do": "tag", "arm": None, "key": "infomri.operator", "value": operator})

    def lost_state(self, arm: str, why: str) -> None:
        """Mark an arm that continued with a fresh optimizer where one was lost."""
        self._record({"do": "tag", "arm": arm, "key": "infomri.lost_state", "value": why})

    def dataset(self, name: str, card: Mapping[str, Any], context: str = "training") -> None:
        """Log the card of a data set as an input of all runs: counts, no patient's value.

        The same card again is not logged twice.
        """
        text = json.dumps(dict(card), sort_keys=True)
        digest = hashlib.sha256(f"{name} {context} {text}".encode()).hexdigest()[:16]
        if digest not in self._datasets:
            self._datasets.add(digest)
            about = {"name": name, "digest": digest, "profile": text, "context": context}
            self._record({"do": "dataset", **about})

    def model(
        self, arm: str, folder: Path, name: str, tags: Mapping[str, str], description: str = ""
    ) -> None:
        """Register the MLflow model in ``folder`` as a new version of ``name``."""
        about = {"path": self._spooled(folder), "name": name, "tags": dict(tags)}
        about["description"] = description
        self._record({"do": "model", "arm": arm, **about})

    def artifact(self, path: Path) -> None:
        """Attach a file to the parent run."""
        self._record({"do": "artifact", "path": self._spooled(path)})

    def describe(self, text: str) -> None:
        """Put ``text``, Markdown, at the top of the study's page; ``{run_id}`` is its run's id."""
        self._record({"do": "describe", "text": text})

    def finish(self, status: str) -> None:
        """End all runs: ``FINISHED``, ``FAILED`` or ``KILLED``; send what can be sent."""
        self._stop()
        self._record({"do": "finish", "status": status})
        self._send_rest(self._end_seconds if status == "FINISHED" else 0.0)

    def close(self) -> None:
        """Leave the runs as they are; send what can be sent."""
        self._stop()
        self._send_rest()

    def _stop(self) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join()

    def _send_rest(self, patience: float = 0.0) -> None:
        until, sent = time.monotonic() + patience, self.flush()
        while not sent and time.monotonic() < until:
            time.sleep(_AGAIN_SECONDS)
            sent = self.flush()
        if not sent:
            logger.warning(
                "%s holds what MLflow has not got yet: `%s` sends it",
                self._spool.path,
                resend_command(self._spool.path.parent),
            )

    def flush(self) -> bool:
        """Try to send what was spooled, at once. True when nothing is left."""
        if not self._ours():
            return True
        try:
            n_sent = self._spool.drain(self._send)
        except Exception as error:
            self._retry_at = time.monotonic() + self._retry_seconds
            level = logging.INFO if self._lost else logging.WARNING
            logger.log(level, "MLflow is out of reach, the study continues: %s", _short(error))
            self._lost = True
            return False
        if self._lost and n_sent:
            self._lost = False
            logger.warning("MLflow is back: %d spooled records were sent", n_sent)
        return True

    def _work(self) -> None:
        """Until the end: sample, and send when there is something to send and the store is up."""
        sample_at = time.monotonic() + self._sample_seconds
        while not self._ended.is_set():
            left = sample_at - time.monotonic()
            self._wake.wait(timeout=None if math.isinf(left) else max(0.0, left))
            self._wake.clear()
            if time.monotonic() >= sample_at:
                sample_at += self._sample_seconds
                self._sample()
            if time.monotonic() >= self._retry_at and not self._ended.is_set():
                self.flush()
        self._sample()

    def _sample(self) -> None:
        if self._sampler is not None:
            self._metrics(None, *self._sampler.sample())
            now = str(round(time.time()))
            self._record({"do": "tag", "arm": None, "key": ALIVE, "value": now})

    def _metrics(self, arm: str | None, step: int, metrics: Mapping[str, float]) -> None:
        finite = {name: float(v) for name, v in metrics.items() if math.isfinite(v)}
        if finite:
            self._record({"do": "metrics", "arm": arm, "step": step, "metrics": finite})

    def _record(self, record: Record) -> None:
        if not self._ours():
            return
        # Spooled before it is sent: a study that is killed in the call loses nothing either.
        try:
            self._spool.append(record | {"time": time.time_ns() // 1_000_000})
        except OSError as error:
            logger.warning("a tracking record was lost: %s", error)
            return
        self._wake.set()

    def _spooled(self, path: Path) -> str:
        """From the run's folder on where it is inside: the folder may be moved before sending."""
        path, run = path.resolve(), self._spool.path.parent.resolve()
        return str(path.relative_to(run) if path.is_relative_to(run) else path)

    def _send(self, record: Record) -> None:
        if "path" in record:
            record = record | {"path": str(self._spool.path.parent / record["path"])}
        try:
            self._runs.send(record)
        except Exception as error:
            self._runs.forget()
            if not is_permanent(error):
                raise
            logger.warning("MLflow refused a '%s' record: %s", record.get("do"), _short(error))


def resend_command(run: Path) -> str:
    """The command that sends what the run in the folder ``run`` has spooled, as it is pasted: with
    the centre.toml of this process where none lies beside the run."""
    centre = os.environ.get("INFOMRI_CENTRE", "")
    beside = run.parent / "centre.toml"
    named = ("--centre", Path(centre).resolve()) if centre and not beside.exists() else ()
    return shell_command("infomri", "resend", run.resolve(), *named)


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0][:200]
