"""A dataset card before it leaves: counts of enough patients only, rounded."""

import dataclasses

from fl_client.context import Context, unfit
from fl_client.settings import Policy
from infomri_core.exchange import DatasetCard


def checked_card(card: DatasetCard, context: Context, policy: Policy) -> DatasetCard:
    """The card as it may leave. Raises ``Refused("gate")`` unless it is of this site and plan."""
    task = context.plan.task
    known = (card.site, card.labels, card.shape) == (context.site, task.labels, task.shape)
    if not known or len(card.n_positive) != len(task.labels):
        raise unfit("a card of another site, shape or labels")
    if any(len(key) > 40 or len(value) > 40 for key, value in card.versions.items()):
        raise unfit("a card with odd versions")
    positive = [
        policy.coarse(n) if patients >= policy.min_cohort else 0
        for n, patients in zip(card.n_positive, context.positive_patients, strict=True)
    ]
    return dataclasses.replace(
        card,
        n_patients=policy.coarse(card.n_patients),
        n_slices=policy.coarse(card.n_slices),
        n_positive=tuple(positive),
    )
