"""Sampled k-space before it leaves: is it what was asked, of whom, and may more of them leave?"""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fl_client.memory.ledger import Entry
from fl_client.memory.release_memory import Question, ReleaseMemory, released_record
from infomri_core.messages import ReleasedPatient, ReleaseReply, ReleaseTask
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Consent:
    """The consenting patients of a release: permanent ids by pseudonym, and the ``key_id`` of the
    secret both were made with."""

    key_id: str
    ids: Mapping[str, str]


def admitted_release(
    reply: ReleaseReply,
    task: ReleaseTask,
    plan: Plan,
    consent: Consent,
    ledger_entry: Entry,
    memory: ReleaseMemory,
) -> tuple[ReleaseReply, Mapping[str, Any]]:
    """The part of ``reply`` that may leave, and what the ledger must keep of it.

    Patients whose limit it would pass are left out. Raises ``Refused("gate")`` for a reply that is
    not the task's, and what :meth:`ReleaseMemory.admit` raises.
    """
    form = (task.arm, task.acceleration, plan.task.shape)
    if (reply.arm, reply.acceleration, reply.shape) != form:
        raise _refusal("a release of another arm, acceleration or shape")
    for name, patient in reply.patients.items():
        if name not in consent.ids:
            raise _refusal("the k-space of a patient who is not on the consent list")
        _check_patient(patient, plan, task.acceleration)
    question = Question(plan.study.name, ledger_entry.input, consent.key_id, reply.shape)
    masks = {consent.ids[name]: patient.mask for name, patient in reply.patients.items()}
    admitted = memory.admit(question, masks)
    kept = {name: p for name, p in reply.patients.items() if consent.ids[name] in admitted}
    if len(kept) < len(reply.patients):
        left_out = len(reply.patients) - len(kept)
        log.warning("%d patients are left out: [policy] max_released_fraction", left_out)
    if not kept:
        raise Refused("limit", "no patient of this site may have more k-space released")
    record = released_record(question, {name: masks[name] for name in admitted})
    return dataclasses.replace(reply, patients=kept), record


def _check_patient(patient: ReleasedPatient, plan: Plan, acceleration: float) -> None:
    height, width = plan.task.shape
    mask, values = patient.mask, patient.values
    if mask.shape != (height, width) or mask.dtype != np.bool_:
        raise _refusal("a mask of another form")
    units, n_sampled = height * width, int(mask.sum())
    if plan.constraint == "1d":
        if not (mask == mask[:1]).all():
            raise _refusal("a mask that is not one of whole columns")
        units, n_sampled = width, int(mask[0].sum())
    if n_sampled > int(np.ceil(units / acceleration - 1e-9)):
        raise _refusal("more k-space than the acceleration allows")
    if values.dtype != np.complex64 or values.shape[1:] != (mask.sum(),):
        raise _refusal("values that are not those of the mask")
    if not np.isfinite(values).all():
        raise _refusal("k-space that is not finite")


def _refusal(what: str) -> Refused:
    log.error("the gate held back %s", what)
    return Refused("gate", "the site's gate held the result back; its log says why")
