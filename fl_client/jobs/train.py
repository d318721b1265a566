"""``train``: a round of local steps; weights leave, masked where the plan has it so."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from fl_client.gate import budget
from fl_client.gate.context import Checked, Context, Rules, refusal
from fl_client.jobs.declaration import Job, Premises, training_rows
from fl_client.jobs.forms import check_arms, check_masking, check_round
from fl_client.policy.cost import Cost
from fl_client.settings import Policy
from infomri_core.data.base import SliceTable
from infomri_core.dp.accounting import round_mechanism
from infomri_core.messages import MaskedReply, SiteReply, TrainReply, TrainTask
from infomri_core.messages.wire import Arrays
from infomri_core.plan.alone import n_trained
from infomri_core.plan.plan import Plan
from infomri_core.secagg.update import ring_size
from infomri_core.suppression.registry import RANK, needs_factors
from infomri_core.system.errors import Refused


def admit(context: Context, premises: Premises) -> Context:
    """Round, arms and variance are ones the plan can have; masks where it wants them."""
    plan, task = context.plan, context.task
    assert isinstance(task, TrainTask)
    check_round(task.round, plan)
    check_masking(plan, masked=task.masking is not None)
    check_arms(task.arms, premises.sizes(plan))
    _check_variance(task.variance, plan.task.shape)
    check_factors(task.factors, plan)
    if task.masking is None:
        return context
    return dataclasses.replace(context, mask=partial(premises.sessions.mask, plan, task))


def cost(plan: Plan, task: TrainTask, table: SliceTable) -> Cost:
    """With ``[privacy]`` every step of every arm is a mechanism, also of an arm that the site
    trains by itself: its weights stay, but scores of it leave. A round that runs again draws fresh
    noise, and is charged again: two updates under one noise would show their difference."""
    losses = _losses(plan) * len(task.arms)
    if plan.privacy is None:
        return Cost(epsilon=None, inputs=1, figures=1 + losses)
    n_models = n_trained(plan, task.arms)
    mechanism = round_mechanism(plan.privacy, plan.training.local_steps, n_models)
    return Cost(epsilon=mechanism, inputs=1, figures=1 + losses)


def figures(plan: Plan) -> int:
    """The number of slices and, where they leave, the losses of each arm, a round."""
    return plan.training.rounds * (1 + _losses(plan) * len(plan.arms))


def bounded(plan: Plan) -> bool:
    """By DP-SGD."""
    return plan.privacy is not None


def array_bytes(plan: Plan, premises: Premises) -> int:
    """The arms' weights, the variance of k-space, and factors of its covariance."""
    n_pixels, n_factors = plan.task.shape[0] * plan.task.shape[1], RANK * _needs_factors(plan)
    return 4 * sum(premises.sizes(plan).values()) + (8 * 2 + 4 * n_factors) * n_pixels


def ready(context: Context, premises: Premises) -> None:
    """The slot of the masks is prepared and unused."""
    assert isinstance(context.task, TrainTask)
    if context.task.masking is not None:
        masking, asked = context.task.masking, context.ledger_entry
        premises.sessions.check(context.plan, masking, asked, premises.entries())


def run(context: Context, premises: Premises, cancelled: Callable[[], bool]) -> SiteReply:
    """Train."""
    return premises.site.run(context.plan, context.task, cancelled)


def check_reply(reply: SiteReply, context: Context, rules: Rules) -> Checked:
    """Of the task's form, with what the study has spent, and under its masks."""
    if not isinstance(reply, TrainReply) or not isinstance(context.task, TrainTask):
        raise refusal("a reply that is not the task's")
    checked = checked_weights(reply, context, context.task, rules.policy)
    told = budget.with_spending(checked, context, rules.entries, rules.policy)
    if not context.plan.aggregation.secure:
        return Checked(told)
    if context.mask is None:
        raise refusal("an update without masks")
    return Checked(checked_masked(context.mask(told), context.task, context.plan))


def checked_weights(
    reply: TrainReply, context: Context, task: TrainTask, policy: Policy
) -> TrainReply:
    """The reply with its sample count rounded. Raises ``Refused``: "gate" when it is not what
    ``task`` asked for, "cohort" when too few slices stand behind it."""
    if sorted([*reply.arms, *reply.dropped]) != sorted(task.arms):
        raise refusal("other arms than were asked for")
    if reply.precision != context.plan.aggregation.precision:
        raise refusal("an update of another precision than the plan's")
    if not set(reply.lost_state) <= set(task.arms):
        raise refusal("lost state of other arms than were asked for")
    for name, flat in reply.arms.items():
        asked = task.arms[name]
        if (flat.dtype, flat.shape) != (asked.dtype, asked.shape):
            raise refusal("weights of another form")
        if not np.isfinite(flat).all():
            raise refusal("weights that are not finite")
    _check_losses(reply.losses, reply.arms, context.plan)
    n_samples = policy.coarse(reply.n_samples)
    if n_samples == 0:
        raise Refused("cohort", "too few slices stand behind this job at this site")
    return dataclasses.replace(reply, n_samples=n_samples)


def checked_masked(reply: MaskedReply, task: TrainTask, plan: Plan) -> MaskedReply:
    """The masked update, of the length that the task's arms give. Raises ``Refused("gate")``.

    It is random to anyone who sees it: only its form can be checked."""
    size = ring_size(
        {name: len(flat) for name, flat in task.arms.items()}, plan.task.reported_terms
    )
    if reply.vector.dtype != np.uint64 or reply.vector.shape != (size,):
        raise refusal("a masked vector of another form")
    return reply


def _losses(plan: Plan) -> int:
    told = plan.privacy is None or plan.privacy.losses
    return len(plan.task.reported_terms) if told else 0


def _check_losses(losses: Mapping[str, Mapping[str, float]], arms: Arrays, plan: Plan) -> None:
    if losses and not _losses(plan):
        raise refusal("losses that stand outside epsilon")
    for name, terms in losses.items():
        if name not in arms or not set(terms) <= set(plan.task.reported_terms):
            raise refusal("unrequested losses")
        if not all(isinstance(v, float) and math.isfinite(v) for v in terms.values()):
            raise refusal("losses that are not finite")


def _check_variance(variance: np.ndarray, shape: tuple[int, int]) -> None:
    if variance.shape != (2, *shape) or variance.dtype not in (np.float32, np.float64):
        raise Refused("bad-task", f"the variance must be float32 or float64 of {(2, *shape)}")
    if not (np.isfinite(variance).all() and (variance >= 0).all()):
        raise Refused("bad-task", "the variance must be finite and not negative")


def check_factors(factors: np.ndarray | None, plan: Plan) -> None:
    """Raise ``Refused("bad-task")`` unless factors (q, H, W) come only where an arm needs them."""
    if (factors is not None) != _needs_factors(plan):
        raise Refused("bad-task", "factors of the covariance come where a suppression needs them")
    if factors is None:
        return
    if factors.dtype != np.float32 or factors.shape[1:] != tuple(plan.task.shape):
        raise Refused("bad-task", f"the factors must be float32 images of {plan.task.shape}")
    if not (len(factors) <= RANK and np.isfinite(factors).all()):
        raise Refused("bad-task", f"the factors must be finite and at most {RANK}")


def _needs_factors(plan: Plan) -> bool:
    return needs_factors(arm.suppression for arm in plan.arms)


JOB = Job(
    name="train",
    task=TrainTask,
    admit=admit,
    rows=training_rows,
    cost=cost,
    figures=figures,
    bounded=bounded,
    one_state=False,
    kept=True,
    array_bytes=array_bytes,
    ready=ready,
    run=run,
    check_reply=check_reply,
)
