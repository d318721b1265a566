"""Scores under noise before they leave: the vector of the task's form, bounded, with its noise."""

import dataclasses
import hashlib
import logging

import numpy as np

from fl_client.gate.context import Context, refusal
from fl_client.settings import Policy
from infomri_core.audit.adversaries import BREAKDOWNS
from infomri_core.messages import EvaluateReply, EvaluateTask
from infomri_core.score_noise.mechanism import evaluation_mechanism, form_of, noised
from infomri_core.tasks.task import UNIT

log = logging.getLogger(__name__)


def noised_scores(
    reply: EvaluateReply, context: Context, task: EvaluateTask, policy: Policy
) -> EvaluateReply:
    """The reply with the noise of ``context``, and a coarse number of patients.

    Raises ``Refused("gate")`` when it is not what ``task`` asked for, when its sums are more than
    its patients can have, or there is no noise to put on them.
    """
    mechanism = evaluation_mechanism(context.plan)
    if mechanism is None or context.noise is None:
        raise refusal("scores without the plan's noise")
    if task.round != context.plan.training.rounds or reply.scores or reply.noise is not None:
        raise refusal("other scores than were asked for")
    if reply.n_patients != context.n_patients:
        raise refusal("scores of other patients")
    asked = set(task.attacks)
    if not all(n in asked and why in BREAKDOWNS for n, why in reply.failed.items()):
        raise refusal("a breakdown of an attack that the task did not request")
    form, most = form_of(context.plan, task.arms, task.attacks), reply.n_patients * UNIT
    shapes = {family: array.shape for family, array in reply.sums.items()}
    if shapes != form.shapes() or any(a.dtype != np.int64 for a in reply.sums.values()):
        raise refusal("sums of another form")
    if any(np.abs(array).max() > most for array in reply.sums.values()):
        raise refusal("sums beyond what the patients can have")
    stream = context.noise(digest_of(reply))
    log.info("scores leave under noise of multiplier %.4g", mechanism[0])
    return dataclasses.replace(
        reply,
        n_patients=policy.coarse(reply.n_patients),
        sums=noised(reply.sums, form, mechanism[0], stream),
        noise=mechanism[0],
    )


def digest_of(reply: EvaluateReply) -> str:
    """sha256, hex, of the sums before their noise. It stands among what the noise is made of: were
    they ever computed again with another result, two answers with the same noise would tell the
    difference exactly."""
    digest = hashlib.sha256()
    for family in sorted(reply.sums):
        digest.update(family.encode() + np.ascontiguousarray(reply.sums[family]).tobytes())
    return digest.hexdigest()
