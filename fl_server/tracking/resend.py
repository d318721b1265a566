"""Sending the records of a run that ended while its tracking store was out of reach."""

from dataclasses import replace
from pathlib import Path

from fl_server.run import checkpoint
from fl_server.run.folder import folder_with
from fl_server.settings import Audit, Centre, CentreSettings, Mlflow, read_settings
from fl_server.tracking.spool import Spool
from fl_server.tracking.store import store_uri
from fl_server.tracking.tracker import SPOOL, Tracker
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError


def resend_run(run: Path, store: str = "", centre: Path | None = None) -> int:
    """Send what ``run``'s spool holds to ``store``, by default that of ``centre`` or of the
    centre.toml beside the run; how many records are still there. ``run`` may be the folder around
    it, such as a demo's.

    Raises ``InputError`` for a folder that is no run's, and where no store is named.
    """
    run = folder_with(run.resolve(), "checkpoints")
    saved = checkpoint.latest(run / "checkpoints")
    if saved is None:
        raise InputError(str(run), "a run with checkpoints", "none", "check the path")
    spool = Spool(run / SPOOL)
    if not spool.pending():
        return 0
    settings = replace(_settings(run, store, centre), centre=Centre(run.parent))
    tracker = Tracker(settings, parse_plan(saved.plan_text), run.name, opens=False)
    tracker.close()
    return len(spool.pending())


def record_end(run: Path, plan: Plan, status: str) -> None:
    """End ``run``, whose process was ended with its SuperLink before it could say so itself, as
    ``FAILED`` or ``KILLED`` in the store of the centre.toml beside it; nothing where the study
    never began."""
    if not run.is_dir():
        return
    settings = replace(_settings(run, "", None), centre=Centre(run.parent))
    Tracker(settings, plan, run.name, opens=False).finish(status)


def _settings(run: Path, store: str, centre: Path | None) -> CentreSettings:
    beside = centre or run.parent / "centre.toml"
    if beside.exists() or centre is not None:
        settings = read_settings(beside)
        return replace(settings, mlflow=Mlflow(store_uri(store))) if store else settings
    if not store and not (run.parent / "mlflow.db").exists():
        remedy = "give --store URI, or --centre centre.toml"
        raise InputError("infomri resend", "the MLflow store of the run", "none", remedy)
    return CentreSettings(Audit("phantom:"), mlflow=Mlflow(store_uri(store or str(run))))
