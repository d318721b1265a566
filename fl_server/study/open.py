"""Opening a study: the centre's audit set, device and tracker around :class:`rounds.Study`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_server.inference.register import register_models
from fl_server.run import checkpoint
from fl_server.run.events import Progress
from fl_server.run.folder import find_run, run_name
from fl_server.run.run_lock import RunLock
from fl_server.run.submission import Submission, record
from fl_server.settings import CentreSettings
from fl_server.sites.base import Sites
from fl_server.sites.recording import EVENTS, RecordedSites
from fl_server.study.completed import completed_rows, mark_completed, report_completed
from fl_server.study.study import Study
from fl_server.tracking.tracker import END_SECONDS, SAMPLE_SECONDS, Tracker
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.results.frontier import Row
from infomri_core.system.device import pick_device
from infomri_core.system.errors import InputError


def run_study(
    plan: Plan | None,
    centre: CentreSettings,
    sites: Sites,
    *,
    run_id: str,
    resume: str = "",
    submitted: Submission | None = None,
) -> list[Row]:
    """Run ``plan`` over ``sites``, or continue the run that ``resume`` names. Who ``submitted``
    it goes to the run's folder, its events, MLflow and the report.

    A resumed study's plan is the one in its checkpoint; ``plan``, if given, must be the same.
    A study that has completed is reported again, and nothing else is done. Raises ``StudyFailed``,
    ``InputError`` (also while another process works on the run) and ``Overtaken``.
    """
    name = find_run(centre, resume) if resume else run_name(_given(plan), run_id)
    directory = centre.centre.directory / name
    plan = _stored_plan(directory, plan) if resume else _given(plan)
    with RunLock.acquire(directory, f"run {run_id}") as lock:
        rows = completed_rows(directory, plan) if resume else None
        if rows is None:
            return _run(plan, centre, sites, directory, lock, submitted)
        report_completed(Progress(directory / EVENTS, lock.check), directory, rows)
        return rows


def _run(
    plan: Plan,
    centre: CentreSettings,
    sites: Sites,
    directory: Path,
    lock: RunLock,
    submitted: Submission | None,
) -> list[Row]:
    name = directory.name
    device = torch.device(pick_device(centre.centre.device))
    if centre.centre.threads:
        torch.set_num_threads(centre.centre.threads)
    audit_set = open_dataset(centre.audit.data)
    tracker = Tracker(
        centre,
        plan,
        name,
        sample_seconds=SAMPLE_SECONDS,
        end_seconds=END_SECONDS,
        ours=lock.ours,
    )
    tracker.dataset("audit set", audit_card(audit_set), "audit")
    recorded = RecordedSites(sites, directory, tracker, guard=lock.check)
    if submitted is not None:
        record(directory, submitted)
        recorded.submitted(submitted.operator)
    study = Study(plan, centre, recorded, audit_set, directory, tracker, device, lock.check)
    try:
        rows = study.run()
    except BaseException as error:
        if not lock.ours():
            tracker.close()
            lock.check()
        recorded.failed(error)
        recorded.publish()
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    register_models(directory, plan, rows, tracker)
    recorded.publish()
    tracker.finish("FINISHED")
    mark_completed(directory, plan)
    return rows


def audit_card(audit_set: SliceDataset) -> dict[str, Any]:
    """What MLflow is told of the audit set: counts and shape."""
    table = audit_set.table
    return {
        "n_patients": len(np.unique(table.patients)),
        "n_slices": len(audit_set),
        "shape": list(audit_set.shape),
        "labels": list(table.label_names),
    }


def _given(plan: Plan | None) -> Plan:
    if plan is None:
        raise InputError("plan", "a plan", "none", "submit one with `infomri run plan.toml`")
    return plan


def _stored_plan(directory: Path, given: Plan | None) -> Plan:
    saved = checkpoint.latest(directory / "checkpoints", given.digest if given else None)
    if saved is None:
        raise InputError(str(directory), "a checkpoint", "none", "start the study again")
    return given or parse_plan(saved.plan_text, f"checkpoint of {directory.name}")
