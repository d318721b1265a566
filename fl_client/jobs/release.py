"""``release``: sampled k-space of patients who consented, up to a share of each, ever."""

import dataclasses
from collections.abc import Callable

import numpy as np

from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.gate.release_gate import Consent, admitted_release
from fl_client.jobs.declaration import Job, Premises, always_ready
from fl_client.jobs.forms import check_arms, check_last_round
from fl_client.policy.consent import consenting, read_consent
from fl_client.policy.cost import Cost
from fl_client.policy.limits import check_cohort
from infomri_core.data.base import SliceTable
from infomri_core.messages import ReleaseReply, ReleaseTask, SiteReply
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused


def admit(context: Context, premises: Premises) -> Context:
    """The arm and acceleration that the plan chose, after the last round; whose k-space it is
    follows from the consents as they stand now."""
    plan, task = context.plan, context.task
    assert isinstance(task, ReleaseTask)
    check_round_of_release(task, plan)
    check_arms({task.arm: task.weights}, premises.sizes(plan))
    names = premises.site.names(plan, consenting_patients(plan, premises))
    return dataclasses.replace(context, consent=Consent(premises.site.key_id, names))


def check_round_of_release(task: ReleaseTask, plan: Plan) -> None:
    """Raise ``Refused("bad-task")`` unless the plan chose this very release."""
    chosen = plan.release
    if chosen is None or (task.arm, task.acceleration) != (chosen.arm, chosen.acceleration):
        raise Refused("bad-task", "the task asks for a release that the plan does not choose")
    check_last_round(task.round, plan, "k-space leaves")


def consenting_patients(plan: Plan, premises: Premises) -> list[str]:
    """The scored patients whose k-space may be released today."""
    scored = premises.table.patients[premises.site.scored(plan)]
    return consenting(scored, read_consent(premises.policy.consent))


def rows(plan: Plan, premises: Premises) -> tuple[np.ndarray, ...]:
    """The slices of those who consent."""
    patients = premises.table.patients.astype(str)
    return (np.flatnonzero(np.isin(patients, consenting_patients(plan, premises))),)


def cost(plan: Plan, task: ReleaseTask, table: SliceTable) -> Cost:
    """No figure describes many: each patient's consent and share of k-space is the limit."""
    return Cost(epsilon=None, inputs=1, figures=0)


def figures(plan: Plan) -> int:
    """None."""
    return 0


def bounded(plan: Plan) -> bool:
    """Patients who consent to a release of their own k-space, which no training ever reads."""
    return True


def array_bytes(plan: Plan, premises: Premises) -> int:
    """The weights of one arm."""
    return 4 * max(premises.sizes(plan).values())


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """Made again each time, never from the cache: a consent may have been withdrawn. The site
    draws the same mask and noise again."""
    assert isinstance(context.task, ReleaseTask)
    patients = consenting_patients(context.plan, premises)
    return premises.site.release(context.plan, context.task, patients, cancelled)


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Without those whose limit it would pass; the ledger remembers every position."""
    if not isinstance(reply, ReleaseReply) or not isinstance(context.task, ReleaseTask):
        raise refusal("a reply that is not the task's")
    if context.consent is None:
        raise refusal("a release without consent")
    checked, record = admitted_release(
        reply, context.task, context.plan, context.consent, context.ledger_entry, rules.memory
    )
    check_cohort(len(checked.patients), rules.policy)
    return Checked(checked, {"released": record})


JOB = Job(
    name="release",
    task=ReleaseTask,
    admit=admit,
    rows=rows,
    cost=cost,
    figures=figures,
    bounded=bounded,
    one_state=False,
    kept=False,
    array_bytes=array_bytes,
    ready=always_ready,
    run=run,
    check_reply=check_reply,
)
