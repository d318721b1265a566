"""Scores before they leave: sums over enough patients, after the last round, rounded."""

from collections.abc import Mapping

import numpy as np

from fl_client.context import Context, unfit
from fl_client.settings import Policy
from infomri_core.exchange import EvaluateReply, EvaluateTask, Scores
from infomri_core.metrics import N_BINS, ImageQuality, ScoreHistogram
from infomri_core.plan import Plan
from infomri_core.privacy.adversaries import BREAKDOWNS, LINKAGE
from infomri_core.privacy.linkage_summary import LinkageSummary
from infomri_core.privacy.reader import FULL_IMAGE, READER, REPLICATES
from infomri_core.privacy.strengths import same_site_attacks


def checked_scores(
    reply: EvaluateReply, context: Context, task: EvaluateTask, policy: Policy
) -> EvaluateReply:
    """The reply, coarse. Raises ``Refused("gate")`` when it is not what ``task`` asked for."""
    plan = context.plan
    if task.round != plan.training.rounds:
        raise unfit("scores before the last round")
    cells = {(arm, a) for arm in task.arms for a in plan.measurement.accelerations}
    if set(reply.scores) != cells or reply.n_patients != context.n_patients:
        raise unfit("other scores than were asked for")
    asked = {*task.attacks, *same_site_attacks(plan)}
    if not all(n in asked and why in BREAKDOWNS for n, why in reply.failed.items()):
        raise unfit("a breakdown of an attack that nobody asked for")
    keep = np.array([n >= policy.min_class_cohort for n in context.class_patients])
    scores = {
        cell: Scores(
            _histogram(scores.histogram, plan.evaluation.replicates, keep),
            {name: _quality(q, name, asked) for name, q in scores.quality.items()},
            _linkage(scores.linkage, plan, task, policy),
            _legibility(scores.legibility, asked, plan, keep),
        )
        for cell, scores in reply.scores.items()
    }
    return EvaluateReply(policy.coarse(reply.n_patients), scores, failed=reply.failed)


def _legibility(
    read: Mapping[str, ScoreHistogram], asked: set[str], plan: Plan, keep: np.ndarray
) -> dict[str, ScoreHistogram]:
    """The histograms under the limits of the diagnosis' own."""
    if read and not (READER in asked and set(read) <= {FULL_IMAGE, *asked}):
        raise unfit("a reading that nobody asked for")
    n_replicates = min(REPLICATES, plan.evaluation.replicates)
    return {name: _histogram(h, n_replicates, keep) for name, h in read.items()}


def _histogram(histogram: ScoreHistogram, n_replicates: int, keep: np.ndarray) -> ScoreHistogram:
    """The histogram, with the counts of labels out of ``keep`` (L,) emptied."""
    form = (n_replicates + 1, len(keep), 2, N_BINS)
    if histogram.counts.shape != form:
        raise unfit("a histogram of another form")
    counts = np.where(keep[:, None, None], histogram.counts, 0)
    try:
        return ScoreHistogram.from_arrays({**histogram.to_arrays(), "counts": counts})
    except ValueError:
        raise unfit("a histogram that is not one") from None


def _quality(quality: ImageQuality, name: str, asked: set[str]) -> ImageQuality:
    if name not in asked:
        raise unfit("the quality of an attack that nobody asked for")
    try:
        return ImageQuality.from_arrays(quality.rounded().to_arrays())
    except ValueError:
        raise unfit("image quality that is not finite") from None


def _linkage(
    linkage: LinkageSummary | None, plan: Plan, task: EvaluateTask, policy: Policy
) -> LinkageSummary | None:
    """Coarse success of matching; a kind with fewer measurements than the minimum cohort (one a
    patient) leaves empty."""
    if linkage is None:
        return None
    if LINKAGE not in task.attacks or len(linkage.means) != plan.evaluation.replicates + 1:
        raise unfit("a linkage that nobody asked for")
    weight = [policy.coarse(int(n)) if n >= policy.min_cohort else 0 for n in linkage.weight]
    keep = np.array(weight) > 0
    gallery = [float(policy.coarse(int(n))) for n in linkage.gallery]
    arrays = {
        "means": np.where(keep[:, None], linkage.rounded().means, 0),
        "weight": np.array(weight, np.float64),
        "gallery": np.where(keep, gallery, 0.0),
    }
    try:
        return LinkageSummary.from_arrays(arrays)
    except ValueError:
        raise unfit("a linkage that is not one") from None
