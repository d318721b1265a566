"""The audit of a stored run once more: other attacks, other data, the same trained arms."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl_server.audit.adversaries import FittedAudit, fit_audit, known_targets
from fl_server.audit.data_check import (
    MIN_FIT_PATIENTS,
    MIN_SCORED_PATIENTS,
    MIN_SPLIT_PATIENTS,
    check_audit_data,
    split_for_scoring,
)
from fl_server.audit.examples import examples_for
from fl_server.audit.mask_linkage import link_by_mask
from fl_server.audit.overlap import refuse_overlap
from fl_server.inference.trained_arm import read_model
from fl_server.report.publish import Published
from fl_server.run.checkpoint import Checkpoint
from fl_server.run.folder import folder_with
from fl_server.run.submission import operators_of
from fl_server.settings import Audit, CentreSettings, read_settings
from fl_server.study.epsilon import study_epsilon
from fl_server.study.evaluation.differences import differences
from fl_server.study.evaluation.measuring_less import measuring_less
from fl_server.study.evaluation.meta import study_meta
from fl_server.study.evaluation.results import MergedScores, build_rows
from infomri_core.attacks.registry import ATTACKS, REFERENCE
from infomri_core.data import SliceDataset, open_dataset
from infomri_core.inference.inference import sampling_ratio
from infomri_core.messages import EvaluateTask
from infomri_core.plan.alone import without_alone
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan, without_noise
from infomri_core.report.mask_linkage import META as MASK_LINKAGE
from infomri_core.results.frontier import Row, read_results
from infomri_core.results.measuring_less import META as MEASURING_LESS
from infomri_core.site.site import open_site
from infomri_core.system.device import pick_device
from infomri_core.system.errors import InputError, nearest
from infomri_core.system.files import check_output, disk_errors_explained
from infomri_core.weight_attacks.audit import audit_weights

SUFFIX = "-audit"


@dataclass(frozen=True)
class AuditRequest:
    """What ``infomri audit`` was told; None and () mean the run's own.

    ``steps``: optimizer steps by attack, and of the 'reader' of full images (0: none).
    ``data``: score on these instead of audit patients. ``weights_seconds``: time for the attacks
    on weights and updates (0: none).
    """

    run: Path
    audit: str | None = None
    data: str | None = None
    attacks: tuple[str, ...] = ()
    accelerations: tuple[float, ...] = ()
    steps: Mapping[str, int] = field(default_factory=dict)
    out: Path | None = None
    centre: Path | None = None
    device: str = "auto"
    weights_seconds: float = 0.0


@dataclass(frozen=True)
class Repeated:
    """A repeated audit: its rows, meta and files, and the centre's settings where known;
    ``unwritten`` says why there are no files where a disk filled up meanwhile."""

    plan: Plan
    folder: Path
    rows: list[Row]
    meta: dict[str, Any]
    files: list[Path]
    centre: CentreSettings | None
    unwritten: InputError | None = None


def repeat_audit(asked: AuditRequest, say: Callable[[str], None]) -> Repeated:
    """Fit the attacks again and score them here; the arms stay as they were trained.

    Writes results, figures and report. ``InputError`` for a run, data or attacks that won't do,
    and for a folder that cannot be written, before any attack is fitted.
    """
    folder = run_folder(asked.run)
    check_output(asked.out or folder)
    saved = read_model(folder)
    stored = parse_plan(saved.plan_text, f"plan in {folder}")
    plan = _asked_plan(stored, asked)
    centre = _centre(asked, folder)
    settings = _audit_settings(asked, folder, centre)
    fit_on, scored, words = _data(plan, asked, settings.data)
    _check_scored(plan, scored, folder)
    device = torch.device(pick_device(asked.device))
    started = time.monotonic()
    fitted = fit_audit(plan, settings, fit_on, saved.arms, device, say)
    say("scoring arms and attacks")
    seconds = {"audit": time.monotonic() - started}
    merged = _scores(plan, saved, scored, fitted, str(device))
    history = saved.history if isinstance(saved.history, dict) else {"rounds": []}
    n_train = history["rounds"][-1]["n_train"] if history["rounds"] else 0
    rows = build_rows(plan, merged, fitted, n_train, saved.round)
    meta = study_meta(plan, fitted, merged, saved.dropped, history, seconds)
    meta |= {"audit_data": settings.data, "scored_on": words, "caution": _caution(plan, saved)}
    meta["differences"] = differences(plan, merged, rows)
    meta[MEASURING_LESS] = measuring_less(plan.task, merged, rows)
    meta[MASK_LINKAGE] = link_by_mask(plan, fit_on, saved.arms, device)
    meta |= {"per_site": [], "submitted_by": operators_of(folder)}
    if asked.weights_seconds > 0:
        say("attacking weights and updates on the audit set")
        epsilon = study_epsilon(history)
        meta["weights"] = _weights(plan, saved, fit_on, asked.weights_seconds, device, epsilon)
    shown = examples_for(plan, rows, saved.arms, fitted, fit_on, device)
    target = Published(asked.out or folder, SUFFIX)
    files, unwritten = list[Path](), None
    try:
        with disk_errors_explained(target.directory, "keep what is printed, or make room first"):
            files = target.write(rows, meta, shown)
    except InputError as error:
        unwritten = error
    return Repeated(stored, folder, rows, meta, files, centre, unwritten)


def _weights(
    plan: Plan,
    saved: Checkpoint,
    known: SliceDataset,
    seconds: float,
    device: torch.device,
    epsilon: float | None,
) -> dict[str, Any]:
    images = known.images(np.arange(len(known))).to(device)
    targets = known_targets(plan.task, known, np.arange(len(known))).to(device)
    patients, seed = known.table.patients, plan.study.seed
    return audit_weights(plan, saved.arms, images, targets, patients, seed, seconds, epsilon)


def run_folder(path: Path) -> Path:
    """The folder of the run that ``path`` means: itself, or the one run in it."""
    return folder_with(path.resolve(), "checkpoints")


def _asked_plan(plan: Plan, asked: AuditRequest) -> Plan:
    """The plan with the attacks and accelerations asked for; its identity stays the study's."""
    names = asked.attacks or plan.evaluation.attacks
    for name in names:
        if name not in ATTACKS:
            hint = nearest(name, ATTACKS) or f"they are {', '.join(ATTACKS)}"
            raise InputError("--attacks", "names of attacks", repr(name), hint)
    accelerations = asked.accelerations or plan.measurement.accelerations
    for acceleration in accelerations:
        sampling_ratio(plan, acceleration)
    # Without the reference no other attack could be certified.
    names = tuple(dict.fromkeys((REFERENCE, *names)))
    return replace(
        plan,
        evaluation=replace(plan.evaluation, attacks=names),
        measurement=replace(plan.measurement, accelerations=tuple(accelerations)),
    )


def _centre(asked: AuditRequest, folder: Path) -> CentreSettings | None:
    path = asked.centre or folder.parent / "centre.toml"
    return read_settings(path) if asked.centre or path.is_file() else None


def _audit_settings(asked: AuditRequest, folder: Path, centre: CentreSettings | None) -> Audit:
    """The centre's audit settings, with the URI and the steps that were asked for."""
    uri = asked.audit or (centre.audit.data if centre else "") or _stored_uri(folder)
    if not uri:
        raise InputError(
            "--audit", "the URI of an audit set", "none", "the run does not say; give --audit URI"
        )
    settings = replace(centre.audit, data=uri) if centre else Audit(uri)
    return settings.with_steps(asked.steps)


def _stored_uri(folder: Path) -> str:
    path = folder / "results.json"
    return str(read_results(path)[1].get("audit_data") or "") if path.is_file() else ""


def _data(plan: Plan, asked: AuditRequest, uri: str) -> tuple[SliceDataset, SliceDataset, str]:
    """What to fit on, what to score on, and the second in words."""
    audit_set = open_dataset(uri)
    if asked.data is None:
        check_audit_data(plan, audit_set, "audit set", MIN_SPLIT_PATIENTS)
        fit_on, scored = split_for_scoring(audit_set)
        n_scored = len(np.unique(scored.table.patients))
        return fit_on, scored, f"{n_scored} patients held out of the audit set; at no site"
    other = open_dataset(asked.data)
    check_audit_data(plan, audit_set, "audit set", MIN_FIT_PATIENTS)
    check_audit_data(plan, other, "--data", MIN_SCORED_PATIENTS)
    refuse_overlap(other, audit_set)
    return audit_set, other, "other data, scored here; at no site"


def _check_scored(plan: Plan, scored: SliceDataset, folder: Path) -> None:
    """``InputError`` when the plan has too few patients of ``scored`` scored."""
    n_patients = open_site(scored, "here", folder, "cpu").n_scored_patients(plan)
    if n_patients < MIN_SCORED_PATIENTS:
        expected = f"at least {MIN_SCORED_PATIENTS} patients that the plan has scored"
        remedy = "give more data: only the validation split, in the plan's band, is scored"
        raise InputError("--data", expected, str(n_patients), remedy)


def _scores(
    plan: Plan, saved: Checkpoint, scored: SliceDataset, fitted: FittedAudit, device: str
) -> MergedScores:
    task = EvaluateTask(plan.text, saved.round, 0.0, saved.arms, fitted.adversaries.to_arrays())
    with tempfile.TemporaryDirectory() as scratch:
        site = open_site(scored, "here", Path(scratch), device)
        merged = MergedScores(plan)
        merged.add("here", site.evaluate(without_alone(without_noise(plan)), task, lambda: False))
    return merged


def _caution(plan: Plan, saved: Checkpoint) -> str:
    rounds = plan.training.rounds
    return "" if saved.round >= rounds else f"weights after {saved.round} of {rounds} rounds"
