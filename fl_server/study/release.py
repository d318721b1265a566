"""Sampled k-space that sites release at the end of a study, kept under the run's folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from fl_server.run.events import Progress
from fl_server.sites.base import Sites
from fl_server.study.enrolment import Roster, deadline
from infomri_core.messages import ReleasedPatient, ReleaseReply, ReleaseTask
from infomri_core.plan.plan import Plan
from infomri_core.system.files import write_atomically

FOLDER = "released"


def collect_release(
    plan: Plan,
    arms: dict[str, np.ndarray],
    sites: Sites,
    roster: Roster,
    directory: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Ask for the release that the plan chooses; what ``results.json`` says of it.

    Each site's answer becomes ``released/SITE.safetensors`` (see :func:`read_release`). A site
    that refuses is reported and left out: a release is a gift, not a duty.
    """
    if plan.release is None:
        return {}
    arm, rounds = plan.release.arm, plan.training.rounds
    told: dict[str, Any] = {"arm": arm, "acceleration": plan.release.acceleration, "sites": {}}
    if arm not in arms:
        progress.report("refused", f"no release: arm {arm} was dropped")
        return told
    task = ReleaseTask(
        plan.text, rounds, deadline(plan), arm, plan.release.acceleration, arms[arm]
    )
    for node, reply in sites.ask(task, roster.participants(rounds)):
        if not isinstance(reply, ReleaseReply) or not _fits(reply, task, plan):
            roster.report_refusal(node, reply, rounds)
            continue
        site = roster.name(node)
        path = directory / FOLDER / f"{site}.safetensors"
        write_atomically(path, save(_arrays(reply), metadata=_metadata(reply, plan)))
        n_slices = sum(len(patient.values) for patient in reply.patients.values())
        told["sites"][site] = {
            "n_patients": len(reply.patients),
            "n_slices": n_slices,
            "file": str(path.relative_to(directory)),
        }
        progress.report("released", f"site {site} released {n_slices} slices of sampled k-space")
    told["sites"] = dict(sorted(told["sites"].items()))
    return told


def read_release(path: Path) -> dict[str, ReleasedPatient]:
    """The patients in a file of :func:`collect_release`, by pseudonym."""
    with safe_open(path, framework="numpy") as file:
        names = sorted({key.partition("/")[0] for key in file.keys()})  # noqa: SIM118
        return {
            name: ReleasedPatient(
                file.get_tensor(f"{name}/mask"), file.get_tensor(f"{name}/values")
            )
            for name in names
        }


def _fits(reply: ReleaseReply, task: ReleaseTask, plan: Plan) -> bool:
    form = (task.arm, task.acceleration, plan.task.shape)
    return (reply.arm, reply.acceleration, reply.shape) == form


def _arrays(reply: ReleaseReply) -> dict[str, np.ndarray]:
    arrays = {}
    for name, patient in reply.patients.items():
        arrays[f"{name}/mask"] = patient.mask
        arrays[f"{name}/values"] = np.ascontiguousarray(patient.values)
    return arrays


def _metadata(reply: ReleaseReply, plan: Plan) -> dict[str, str]:
    said = {"arm": reply.arm, "acceleration": reply.acceleration, "plan_sha256": plan.digest}
    return {"release": json.dumps(said)}
