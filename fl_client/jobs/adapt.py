"""``adapt``: an attack trained further on this site's images, for insiders."""

import dataclasses
from collections.abc import Callable

import numpy as np

from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.jobs.declaration import Job, Premises, always_ready, training_rows
from fl_client.jobs.forms import check_arms
from fl_client.policy.cost import Cost
from fl_client.settings import Policy
from infomri_core.data.base import SliceTable
from infomri_core.messages import AdaptReply, AdaptTask, SiteReply
from infomri_core.plan.adversary_knowledge import insider_attack
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused

MAX_GROUPS = 64


def admit(context: Context, premises: Premises) -> Context:
    """Only for a plan with insiders, in its rounds, with finite weights."""
    plan, task = context.plan, context.task
    assert isinstance(task, AdaptTask)
    if insider_attack(plan) is None:
        raise Refused("bad-task", "the task trains an attack, the plan has no insider")
    rounds, limit = plan.evaluation.insider_rounds, MAX_GROUPS
    if not (1 <= task.round <= rounds and 1 <= len(task.networks) <= limit):
        sentence = f"insiders train in rounds 1 to {rounds}, for 1 to {limit} groups"
        raise Refused("bad-task", sentence)
    check_arms(task.arms, premises.sizes(plan))
    for arrays in (task.start, *task.networks.values()):
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise Refused("bad-task", "the weights of the attack are not finite")
    return context


def cost(plan: Plan, task: AdaptTask, table: SliceTable) -> Cost:
    """Trained without noise: no epsilon bounds it (see :func:`bounded`)."""
    return Cost(epsilon=None, inputs=1, figures=1)


def figures(plan: Plan) -> int:
    """The number of images, rounded, a round."""
    return 0 if insider_attack(plan) is None else plan.evaluation.insider_rounds


def bounded(plan: Plan) -> bool:
    """Never: attacks are trained without differential privacy, whatever the plan says."""
    return False


def array_bytes(plan: Plan, premises: Premises) -> None:
    """An attack may have any of the sizes that its architecture takes: the site's limit."""
    return


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """Train the attack."""
    return premises.site.run(context.plan, context.task, cancelled)


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Networks of the form that came."""
    if not isinstance(reply, AdaptReply) or not isinstance(context.task, AdaptTask):
        raise refusal("a reply that is not the task's")
    return Checked(checked_attack(reply, context.task, rules.policy))


def checked_attack(reply: AdaptReply, task: AdaptTask, policy: Policy) -> AdaptReply:
    """The reply with its sample count rounded. Raises ``Refused``: "gate" when it is not what
    ``task`` asked for, "cohort" when too few slices stand behind it."""
    if set(reply.networks) != set(task.networks):
        raise refusal("an attack for other groups than were asked for")
    for group, network in reply.networks.items():
        asked = task.networks[group]
        if {n: (a.dtype, a.shape) for n, a in network.items()} != {
            n: (a.dtype, a.shape) for n, a in asked.items()
        }:
            raise refusal("an attack of another form")
        if not all(np.isfinite(array).all() for array in network.values()):
            raise refusal("an attack whose weights are not finite")
    n_samples = policy.coarse(reply.n_samples)
    if n_samples == 0:
        raise Refused("cohort", "too few slices stand behind this job at this site")
    return dataclasses.replace(reply, n_samples=n_samples)


JOB = Job(
    name="adapt",
    task=AdaptTask,
    admit=admit,
    rows=training_rows,
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
