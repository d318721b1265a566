"""Scores before they leave: sums over groups of enough patients, after the last round, rounded.

The groups are counted here from the site's own table; what a reply says of them is only compared.
"""

from collections.abc import Mapping

import numpy as np

from fl_client.gate.cohort import Groups, count_groups
from fl_client.gate.context import Context, refusal
from fl_client.settings import Policy
from infomri_core.attacks.adversaries import BREAKDOWNS, LINKAGE
from infomri_core.attacks.full_image_classifier import FULL_IMAGE, READER
from infomri_core.messages import EvaluateReply, EvaluateTask, Scores
from infomri_core.plan.adversary_knowledge import same_site_attacks
from infomri_core.site.evaluate import attacked_rows
from infomri_core.summaries.groups import SLOTS, coarser
from infomri_core.summaries.linkage_summary import KINDS, LinkageSummary
from infomri_core.summaries.metrics import N_BINS, ImageQuality, ScoreHistogram
from infomri_core.tasks.task import classes_of


def checked_scores(
    reply: EvaluateReply, context: Context, task: EvaluateTask, policy: Policy
) -> EvaluateReply:
    """The reply, coarse. Raises ``Refused("gate")`` when it is not what ``task`` asked for."""
    plan = context.plan
    if task.round != plan.training.rounds:
        raise refusal("scores before the last round")
    cells = {(arm, a) for arm in task.arms for a in plan.measurement.accelerations}
    if set(reply.scores) != cells or reply.n_patients != context.n_patients:
        raise refusal("other scores than were asked for")
    asked = {*task.attacks, *same_site_attacks(plan)}
    if not all(n in asked and why in BREAKDOWNS for n, why in reply.failed.items()):
        raise refusal("a breakdown of an attack that the task did not request")
    everyone, attacked = _groups(context, policy)
    exclusive = classes_of(plan.task).exclusive
    scores = {
        cell: Scores(
            _histogram(scores.histogram, everyone, exclusive, policy),
            {name: _quality(q, name, asked, attacked) for name, q in scores.quality.items()},
            _linkage(scores.linkage, everyone, task, policy),
            _legibility(
                scores.legibility, asked, attacked, classes_of(plan.task).exclusive, policy
            ),
        )
        for cell, scores in reply.scores.items()
    }
    return EvaluateReply(policy.coarse(reply.n_patients), scores, failed=reply.failed)


def _groups(context: Context, policy: Policy) -> tuple[Groups, Groups]:
    """Who stands behind the slots: of all scored slices, and of those that are attacked."""
    table, slots = context.scored, context.slots
    if table is None or slots is None:
        raise refusal("scores whose groups are not known")
    rows = attacked_rows(table.patients, context.plan.evaluation.attack_slices)
    try:
        everyone, attacked = (
            count_groups(table, slots),
            count_groups(table.take(rows), slots[rows]),
        )
    except ValueError:
        raise refusal("groups that cut a patient in two") from None
    for groups in (everyone, attacked):
        if groups.patients[groups.patients > 0].min() < policy.min_cohort:
            raise refusal("a group of fewer patients than the minimum cohort")
    return everyone, attacked


def _legibility(
    read: Mapping[str, ScoreHistogram],
    asked: set[str],
    groups: Groups,
    exclusive: bool,
    policy: Policy,
) -> dict[str, ScoreHistogram]:
    """The histograms under the limits of the diagnosis' own."""
    if read and not (READER in asked and set(read) <= {FULL_IMAGE, *asked}):
        raise refusal("a reading that the task did not request")
    return {name: _histogram(h, groups, exclusive, policy) for name, h in read.items()}


def _histogram(
    histogram: ScoreHistogram, groups: Groups, exclusive: bool, policy: Policy
) -> ScoreHistogram:
    """The histogram in groups that have the class cohort with and without each finding; a finding
    that has it not even at the whole site leaves empty."""
    n_labels = groups.labels.shape[1]
    n_decisions = groups.slices * (1 if exclusive else n_labels)
    fits = histogram.counts.shape == (SLOTS, n_labels, 2, N_BINS)
    if not fits or (histogram.counts.sum(-1) != groups.labels).any():
        raise refusal("a histogram of other slices than the groups'")
    if not np.array_equal(histogram.total, n_decisions):
        raise refusal("decisions on other slices than the groups'")
    keep = (groups.classes.sum(0) >= policy.min_class_cohort).all(-1)
    counts = np.where(keep[:, None, None], histogram.counts, 0)
    classes = groups.classes[:, keep].reshape(SLOTS, -1)
    behind = np.column_stack((groups.patients, classes))
    minimum = np.full(behind.shape[1], policy.min_class_cohort)
    minimum[0] = policy.min_cohort
    try:
        whole = ScoreHistogram.from_arrays({**histogram.to_arrays(), "counts": counts})
    except ValueError:
        raise refusal("a histogram that is not one") from None
    return whole.pooled(coarser(behind, minimum))


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
