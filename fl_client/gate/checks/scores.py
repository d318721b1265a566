"""Scores before they leave: sums over groups of enough patients, after the last round, rounded.

The groups are counted here from the site's own table; what a reply says of them is only compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fl_client.gate.context import Context, refusal
from fl_client.settings import Policy
from infomri_core.audit.adversaries import BREAKDOWNS, LINKAGE
from infomri_core.audit.full_image_classifier import FULL_IMAGE, READER
from infomri_core.data.base import SliceTable
from infomri_core.messages import EvaluateReply, EvaluateTask, Scores
from infomri_core.plan.adversary_knowledge import same_site_attacks
from infomri_core.plan.alone import alone_arms
from infomri_core.results.arm_names import alone_name
from infomri_core.site.evaluate import attacked_rows
from infomri_core.summaries.cohorts import Groups, Limits, count_groups
from infomri_core.summaries.groups import SLOTS, coarser
from infomri_core.summaries.linkage_summary import KINDS, LinkageSummary
from infomri_core.summaries.metrics import ImageQuality
from infomri_core.summaries.summary import Summary
from infomri_core.tasks.task import Task


def checked_scores(
    reply: EvaluateReply, context: Context, task: EvaluateTask, policy: Policy
) -> EvaluateReply:
    """The reply, coarse. Raises ``Refused("gate")`` when it is not what ``task`` asked for."""
    plan = context.plan
    if task.round != plan.training.rounds:
        raise refusal("scores before the last round")
    names = [*task.arms, *(alone_name(arm.name) for arm in alone_arms(plan, task.arms))]
    cells = {(name, a) for name in names for a in plan.measurement.accelerations}
    if set(reply.scores) != cells or reply.n_patients != context.n_patients:
        raise refusal("other scores than were asked for")
    asked = {*task.attacks, *same_site_attacks(plan)}
    if not all(n in asked and why in BREAKDOWNS for n, why in reply.failed.items()):
        raise refusal("a breakdown of an attack that the task did not request")
    everyone, attacked = _groups(context, policy)
    limits = Limits(policy.min_cohort, policy.min_class_cohort)
    scores = {
        cell: Scores(
            _of_task(plan.task, scores.task, everyone, limits),
            {n: _quality(q, n, asked, attacked.behind) for n, q in scores.quality.items()},
            _linkage(scores.linkage, everyone.behind, task, policy),
            _legibility(plan.task, scores.legibility, asked, attacked, limits),
        )
        for cell, scores in reply.scores.items()
    }
    n_patients = policy.coarse(reply.n_patients)
    return EvaluateReply(n_patients, scores, failed=reply.failed, task=plan.task.kind)


@dataclass(frozen=True)
class _Scored:
    """Slices that were scored, the slot of each (n,), and who stands behind the slots."""

    table: SliceTable
    slots: np.ndarray
    behind: Groups


def _groups(context: Context, policy: Policy) -> tuple[_Scored, _Scored]:
    """All scored slices, and those that are attacked."""
    table, slots = context.scored, context.slots
    if table is None or slots is None:
        raise refusal("scores whose groups are not known")
    rows = attacked_rows(table.patients, context.plan.evaluation.attack_slices)
    try:
        everyone, attacked = (
            _Scored(part, where, count_groups(part.patients, where))
            for part, where in ((table, slots), (table.take(rows), slots[rows]))
        )
    except ValueError:
        raise refusal("groups that cut a patient in two") from None
    for found in (everyone.behind, attacked.behind):
        if found.patients[found.patients > 0].min() < policy.min_cohort:
            raise refusal("a group of fewer patients than the minimum cohort")
    return everyone, attacked


def _legibility(
    task: Task, read: Mapping[str, Summary], asked: set[str], scored: _Scored, limits: Limits
) -> dict[str, Summary]:
    """The summaries under the limits of the task's own."""
    if read and not (READER in asked and set(read) <= {FULL_IMAGE, *asked}):
        raise refusal("a reading that the task did not request")
    return {name: _of_task(task, found, scored, limits) for name, found in read.items()}


def _of_task(task: Task, found: Summary, scored: _Scored, limits: Limits) -> Summary:
    if not isinstance(found, task.summary):
        raise refusal("a summary of another task")
    try:
        return task.released(found, scored.table, scored.slots, limits)
    except ValueError as error:
        raise refusal(f"a summary of the task: {error}") from None


def _quality(quality: ImageQuality, name: str, asked: set[str], groups: Groups) -> ImageQuality:
    if name not in asked:
        raise refusal("the quality of an attack that the task did not request")
    if not np.array_equal(quality.weight, groups.slices):
        raise refusal("the quality of other images than the groups'")
    try:
        return ImageQuality.from_arrays(quality.rounded().to_arrays())
    except ValueError:
        raise refusal("image quality that is not finite") from None


def _linkage(
    linkage: LinkageSummary | None, groups: Groups, task: EvaluateTask, policy: Policy
) -> LinkageSummary | None:
    """Coarse success of matching, in groups of the minimum cohort by the measurements (one a
    patient); a kind with fewer than that leaves empty."""
    if linkage is None:
        return None
    if LINKAGE not in task.attacks or linkage.weight.shape != (SLOTS, 2):
        raise refusal("a linkage that the task did not request")
    if (linkage.weight > groups.patients[:, None]).any():
        raise refusal("a linkage of more patients than the groups have")
    least = max(policy.min_cohort, policy.round_to)
    for k, kind in enumerate(KINDS):
        weight = linkage.weight[:, k]
        linkage = linkage.released(kind, coarser(weight[:, None], least), weight.sum() >= least)
    try:
        return LinkageSummary.from_arrays(linkage.rounded(policy.round_to).to_arrays())
    except ValueError:
        raise refusal("a linkage that is not one") from None
