"""Moments before they leave: of the plan's form, symmetric as second moments are, and rounded."""

import dataclasses

import numpy as np
import torch

from fl_client.context import Context, unfit
from fl_client.settings import Policy
from infomri_core.errors import Refused
from infomri_core.exchange import MomentsReply
from infomri_core.privacy.moments import symmetric


def checked_moments(reply: MomentsReply, context: Context, policy: Policy) -> MomentsReply:
    """The reply with its number of patients (or slices) rounded. Raises ``Refused``: "gate" when
    it is not what the plan asks for, "cohort" when too few stand behind it.

    The mean of k-space has no such symmetry in its imaginary part, and cannot leave in its place.
    """
    total = reply.total
    if context.plan.moments is None or context.cost is None:
        raise unfit("moments that the plan does not ask for")
    if total.shape != (2, *context.plan.task.shape) or total.dtype != np.float32:
        raise unfit("moments of another form")
    whole = bool(np.isfinite(total).all())
    if not whole or not np.array_equal(total, symmetric(torch.from_numpy(total)).numpy()):
        raise unfit("moments that are not finite or not symmetric")
    n_units = policy.coarse(reply.n_units)
    if n_units == 0:
        raise Refused("cohort", "too few patients stand behind this job at this site")
    return dataclasses.replace(reply, n_units=n_units)
