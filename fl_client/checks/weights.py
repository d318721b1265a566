"""Trained weights before they leave: of the form that was asked for, and finite."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from fl_client.context import Context, unfit
from fl_client.settings import Policy
from infomri_core.errors import Refused
from infomri_core.exchange import TrainReply, TrainTask
from infomri_core.plan import Plan
from infomri_core.wire import Arrays

_LOSS_TERMS = {"ce", "entropy"}


def checked_weights(
    reply: TrainReply, context: Context, task: TrainTask, policy: Policy
) -> TrainReply:
    """The reply with its sample count rounded. Raises ``Refused``: "gate" when it is not what
    ``task`` asked for, "cohort" when too few slices stand behind it."""
    if sorted([*reply.arms, *reply.dropped]) != sorted(task.arms):
        raise unfit("other arms than were asked for")
    if not set(reply.lost_state) <= set(task.arms):
        raise unfit("lost state of other arms than were asked for")
    for name, flat in reply.arms.items():
        asked = task.arms[name]
        if (flat.dtype, flat.shape) != (asked.dtype, asked.shape):
            raise unfit("weights of another form")
        if not np.isfinite(flat).all():
            raise unfit("weights that are not finite")
    _check_losses(reply.losses, reply.arms, context.plan)
    n_samples = policy.coarse(reply.n_samples)
    if n_samples == 0:
        raise Refused("cohort", "too few slices stand behind this job at this site")
    return dataclasses.replace(reply, n_samples=n_samples)


def _check_losses(losses: Mapping[str, Mapping[str, float]], arms: Arrays, plan: Plan) -> None:
    if losses and plan.privacy is not None and not plan.privacy.losses:
        raise unfit("losses that stand outside epsilon")
    for name, terms in losses.items():
        if name not in arms or not set(terms) <= _LOSS_TERMS:
            raise unfit("losses that nobody asked for")
        if not all(isinstance(v, float) and math.isfinite(v) for v in terms.values()):
            raise unfit("losses that are not finite")
