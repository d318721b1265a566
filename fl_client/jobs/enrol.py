"""``enrol``: the site's dataset card, counts of enough patients only, rounded and frozen."""

import dataclasses
from collections.abc import Callable

from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.gate.pinned_counts import counts_of, pinned_counts
from fl_client.jobs.declaration import Job, Premises, always_ready, nothing_more, whole_table
from fl_client.policy.cost import Cost
from fl_client.settings import Policy
from infomri_core.data.base import SliceTable
from infomri_core.messages import DatasetCard, EnrolTask, SiteReply
from infomri_core.plan.plan import Plan


def figures(plan: Plan) -> int:
    """Patients, slices, and slices with each finding."""
    return 2 + len(plan.task.finding_names)


def cost(plan: Plan, task: EnrolTask, table: SliceTable) -> Cost:
    """Counts: no noise, no weights to choose."""
    return Cost(epsilon=None, inputs=1, figures=figures(plan))


def bounded(plan: Plan) -> bool:
    """A study begins here: one that would train without noise is refused at once."""
    return plan.privacy is not None


def array_bytes(plan: Plan, premises: Premises) -> int:
    """The question has no arrays."""
    return 0


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """Count."""
    return premises.site.run(context.plan, context.task, cancelled)


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """The card with the counts that left before, or these, noted as the first."""
    if not isinstance(reply, DatasetCard):
        raise refusal("a reply that is not the task's")
    card = checked_card(reply, context, rules.policy)
    fresh = counts_of(card)
    kept = pinned_counts(rules.entries, set(fresh), rules.policy.count_days)
    counts = fresh | kept
    same = dataclasses.replace(
        card,
        n_patients=counts["patients"],
        n_slices=counts["slices"],
        n_positive=tuple(counts[f"with {name}"] for name in card.labels),
    )
    told = {name: n for name, n in fresh.items() if name not in kept}
    return Checked(same, {"counts": told} if told else {})


def checked_card(card: DatasetCard, context: Context, policy: Policy) -> DatasetCard:
    """The card as it may leave. Raises ``Refused("gate")`` unless it is of this site and plan."""
    task = context.plan.task
    known = (context.site, task.finding_names, task.shape)
    if (card.site, card.labels, card.shape) != known or len(card.n_positive) != len(card.labels):
        raise refusal("a card of another site, shape or labels")
    if any(len(key) > 40 or len(value) > 40 for key, value in card.versions.items()):
        raise refusal("a card with malformed versions")
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


JOB = Job(
    name="enrol",
    task=EnrolTask,
    admit=nothing_more,
    rows=whole_table,
    cost=cost,
    figures=figures,
    bounded=bounded,
    one_state=False,
    kept=True,
    array_bytes=array_bytes,
    ready=always_ready,
    run=run,
    check_reply=check_reply,
)
