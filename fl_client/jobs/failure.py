"""What is said of a job that failed, and when.

Before a job was charged it has read no row: why it was refused follows from the task, the policy
and the ledger, and is said at once. After that, what fails can depend on what was read, and a
hostile study centre can build a network that fails for one patient and not for another. So every
such failure is one code and one sentence, and leaves at a point of one fixed schedule: 30 s, 60 s,
120 s and so on after the charge, or at the end of the job's time. At most some twelve points make
less than four bits, and no answer waits longer than the job itself took, or 30 s.
"""

import errno
import logging
import time
from collections.abc import Callable

from infomri_core.messages import ErrorReply
from infomri_core.system.errors import Cancelled, Refused

FIRST_ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.2
_HARMLESS = frozenset(
    {"budget", "cohort", "data", "key", "ledger", "limit", "released", "secure-aggregation"}
)
"""Refusals after the charge that follow from the table's form and counts, the ledger, the plan or
the session, and never from an image, a label or what was computed of them."""

log = logging.getLogger(__name__)


def told(exception: Exception, stopping: bool, charged: bool) -> ErrorReply:
    """What may be said of an exception: nothing, but for those made to be said."""
    if isinstance(exception, Cancelled) and stopping:
        return ErrorReply("stopping", "this site is stopping; ask again later")
    if isinstance(exception, Refused) and (not charged or harmless(exception, stopping)):
        return ErrorReply(exception.code, exception.sentence)
    log.error("a job failed", exc_info=exception)
    if _disk_full(exception):
        return ErrorReply("failed", "the disk of this site is full")
    return ErrorReply("failed", "the job did not come to its end at this site; its log says why")


def harmless(exception: Exception, stopping: bool) -> bool:
    """Whether the kind and time of a failure can tell nothing of the data. A full disk is one:
    what is written has the size that the plan gives it."""
    if isinstance(exception, Cancelled):
        return stopping
    if isinstance(exception, Refused):
        return exception.code in _HARMLESS
    return _disk_full(exception)


def answer_time(charged: float, now: float, end: float) -> float:
    """The first point of the schedule from ``now`` on: ``charged`` + 30 s 2^k, up to ``end``."""
    after = FIRST_ANSWER_SECONDS
    while charged + after < min(now, end):
        after *= 2
    return min(charged + after, end)


def waiter(clock: Callable[[], float], stopping: Callable[[], bool]) -> Callable[[float], None]:
    """Waits until a time of ``clock``, or until ``stopping``."""

    def wait(until: float) -> None:
        while clock() < until and not stopping():
            time.sleep(min(POLL_SECONDS, max(0.0, until - clock())))

    return wait


def _disk_full(exception: Exception) -> bool:
    return isinstance(exception, OSError) and exception.errno in (errno.ENOSPC, errno.EDQUOT)
