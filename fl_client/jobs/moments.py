"""``moments``: noised second moments of the training patients' k-space, once, under epsilon."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from fl_client.gate import budget
from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.jobs.declaration import Job, Premises, always_ready, training_rows
from fl_client.policy.cost import Cost
from fl_client.settings import Policy
from infomri_core.data.base import SliceTable
from infomri_core.dp.accounting import moments_mechanism
from infomri_core.dp.moments import symmetric
from infomri_core.messages import MomentsReply, MomentsTask, SiteReply
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import Refused


def admit(context: Context, premises: Premises) -> Context:
    """Only for a plan with ``[moments]``, about a finite mean of the plan's shape."""
    plan, task = context.plan, context.task
    assert isinstance(task, MomentsTask)
    if plan.moments is None:
        raise Refused("bad-task", "the task asks for moments, the plan has no [moments]")
    mean, form = task.mean, (2, *plan.task.shape)
    if mean.shape != form or mean.dtype != np.float32 or not np.isfinite(mean).all():
        raise Refused("bad-task", f"the mean must be finite float32 of {form}")
    return context


def cost(plan: Plan, task: MomentsTask, table: SliceTable) -> Cost:
    """One Gaussian mechanism over everybody; its values are under it, and no figures."""
    epsilon = None if plan.moments is None else moments_mechanism(plan.moments)
    return Cost(epsilon=epsilon, inputs=1, figures=figures(plan))


def figures(plan: Plan) -> int:
    """The number of patients (or slices), rounded."""
    return 1 if plan.moments is not None else 0


def bounded(plan: Plan) -> bool:
    """A plan has ``[moments]`` beside ``[privacy]`` only."""
    return plan.privacy is not None


def array_bytes(plan: Plan, premises: Premises) -> int:
    """The mean."""
    return 4 * 2 * plan.task.shape[0] * plan.task.shape[1]


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """Sum, clip, add noise."""
    return premises.site.run(context.plan, context.task, cancelled)


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Of the plan's form, with what the study has spent."""
    if not isinstance(reply, MomentsReply):
        raise refusal("a reply that is not the task's")
    checked = checked_moments(reply, context, rules.policy)
    return Checked(budget.with_spending(checked, context, rules.entries, rules.policy))


def checked_moments(reply: MomentsReply, context: Context, policy: Policy) -> MomentsReply:
    """The reply with its number of patients (or slices) rounded. Raises ``Refused``: "gate" when
    it is not what the plan asks for, "cohort" when too few stand behind it.

    The mean of k-space has no such symmetry in its imaginary part, and cannot leave in its place.
    """
    total = reply.total
    if context.plan.moments is None or context.cost is None or context.cost.epsilon is None:
        raise refusal("moments that the plan does not ask for")
    if total.shape != (2, *context.plan.task.shape) or total.dtype != np.float32:
        raise refusal("moments of another form")
    whole = bool(np.isfinite(total).all())
    if not whole or not np.array_equal(total, symmetric(torch.from_numpy(total)).numpy()):
        raise refusal("moments that are not finite or not symmetric")
    n_units = policy.coarse(reply.n_units)
    if n_units == 0:
        raise Refused("cohort", "too few patients stand behind this job at this site")
    return dataclasses.replace(reply, n_units=n_units)


JOB = Job(
    name="moments",
    task=MomentsTask,
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
