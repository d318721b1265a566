"""An attack trained further before it leaves: of the form that came, and finite."""

import dataclasses

import numpy as np

from fl_client.context import unfit
from fl_client.settings import Policy
from infomri_core.errors import Refused
from infomri_core.exchange import AdaptReply, AdaptTask


def checked_attack(reply: AdaptReply, task: AdaptTask, policy: Policy) -> AdaptReply:
    """The reply with its sample count rounded. Raises ``Refused``: "gate" when it is not what
    ``task`` asked for, "cohort" when too few slices stand behind it."""
    if set(reply.networks) != set(task.networks):
        raise unfit("an attack for other groups than were asked for")
    for group, network in reply.networks.items():
        asked = task.networks[group]
        if {n: (a.dtype, a.shape) for n, a in network.items()} != {
            n: (a.dtype, a.shape) for n, a in asked.items()
        }:
            raise unfit("an attack of another form")
        if not all(np.isfinite(array).all() for array in network.values()):
            raise unfit("an attack whose weights are not finite")
    n_samples = policy.coarse(reply.n_samples)
    if n_samples == 0:
        raise Refused("cohort", "too few slices stand behind this job at this site")
    return dataclasses.replace(reply, n_samples=n_samples)
