"""What leaves under secure aggregation: of the form that was asked for, and nothing beside it.

Masked vectors, keys and shares are random to whoever sees them: only their form can be checked.
The update under the masks passes :mod:`fl_client.checks.weights` before it is masked.
"""

import numpy as np

from fl_client.context import Context, unfit
from infomri_core.exchange import (
    AnnounceReply,
    AnnounceTask,
    MaskedReply,
    SecureReply,
    ShareReply,
    ShareTask,
    TrainTask,
    UnmaskReply,
    UnmaskTask,
)
from infomri_core.secagg.update import ring_size


def checked_masked(reply: MaskedReply, task: TrainTask) -> MaskedReply:
    """The masked update, of the length that the task's arms give. Raises ``Refused("gate")``."""
    size = ring_size({name: len(flat) for name, flat in task.arms.items()})
    if reply.vector.dtype != np.uint64 or reply.vector.shape != (size,):
        raise unfit("a masked vector of another form")
    return reply


def checked_secure(reply: SecureReply, context: Context) -> SecureReply:
    """Keys or shares that answer the task: as many as were asked for, of this site only, and
    never both secrets of one site. Raises ``Refused("gate")``."""
    site, fits = context.site, False
    match reply, context.task:
        case AnnounceReply(), AnnounceTask() as task:
            fits = [a.name for a in reply.announcements] == [site] * task.slots
        case ShareReply(), ShareTask() as task:
            known = [{a.name for a in announced} - {site} for announced in task.announcements]
            fits = len(known) == len(reply.shares)
            pairs = zip(reply.shares, known, strict=False)
            fits = fits and all(set(shares) <= names for shares, names in pairs)
        case UnmaskReply(), UnmaskTask() as task:
            seeds, keys = set(reply.unmasking.seeds), set(reply.unmasking.mask_keys)
            fits = seeds <= set(task.delivered) and not keys & (seeds | set(task.delivered))
    if not fits:
        raise unfit("keys or shares that nobody asked for")
    return reply
