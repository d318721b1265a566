"""The closed list of messages, and how each becomes a typed value again; whatever has not the
right form is refused.

Every task carries the plan's whole text: the site recomputes its sha256 and compares it with what
it approved.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from infomri_core.messages.adapt import AdaptReply, AdaptTask, adapt_task_from, adapted_from
from infomri_core.messages.enrol import DatasetCard, EnrolTask, card_from
from infomri_core.messages.evaluate import (
    EvaluateReply,
    EvaluateTask,
    evaluate_task_from,
    evaluated_from,
)
from infomri_core.messages.moments import (
    MomentsReply,
    MomentsTask,
    moments_from,
    moments_task_from,
)
from infomri_core.messages.release import (
    ReleaseReply,
    ReleaseTask,
    release_task_from,
    released_from,
)
from infomri_core.messages.secure import (
    SECURE_JOBS,
    MaskedReply,
    SecureReply,
    SecureTask,
    announced_from,
    masked_from,
    secure_task_from,
    shared_from,
    unmasked_from,
)
from infomri_core.messages.train import TrainReply, TrainTask, train_task_from, trained_from
from infomri_core.messages.wire import Message
from infomri_core.system.errors import Refused
from infomri_core.system.plain import plain

T = TypeVar("T")
MAX_CODE, MAX_SENTENCE = 40, 400
"""The longest code and sentence of an error."""


class Exchanged(Protocol):
    """Anything with a message form."""

    def to_message(self) -> Message: ...


@dataclass(frozen=True)
class ErrorReply:
    """Why a site did not do a job.

    Args:
        code: For programs.
        sentence: Safe to show anyone.
    """

    code: str
    sentence: str

    def to_message(self) -> Message:
        return Message("error", {"code": self.code, "sentence": self.sentence})


SiteTask = (
    EnrolTask | MomentsTask | TrainTask | AdaptTask | EvaluateTask | ReleaseTask | SecureTask
)
SiteReply = (
    DatasetCard
    | MomentsReply
    | TrainReply
    | MaskedReply
    | AdaptReply
    | EvaluateReply
    | ReleaseReply
    | SecureReply
    | ErrorReply
)
_OF_A_ROUND: dict[str, Callable[[Message, str, int, float], SiteTask]] = {
    "train": train_task_from,
    "adapt": adapt_task_from,
    "evaluate": evaluate_task_from,
    "release": release_task_from,
    **dict.fromkeys(SECURE_JOBS, secure_task_from),
}
_REPLIES: dict[str, Callable[[Message], SiteReply]] = {
    "card": card_from,
    "moments": moments_from,
    "trained": trained_from,
    "adapted": adapted_from,
    "evaluated": evaluated_from,
    "released": released_from,
    "announced": announced_from,
    "shared": shared_from,
    "masked": masked_from,
    "unmasked": unmasked_from,
}


def task_from(message: Message) -> SiteTask:
    """The task in a message. Raises ``Refused`` for an unknown job or a malformed field."""
    plan = _field(message, "plan", str)
    deadline = time_in(message)
    if message.kind == "enrol":
        return EnrolTask(plan, deadline)
    if message.kind == "moments":
        return moments_task_from(message, plan, deadline)
    number = _field(message, "round", int)
    if message.kind not in _OF_A_ROUND:
        raise Refused("unknown-job", "this site has no job of that name")
    return _OF_A_ROUND[message.kind](message, plan, number, deadline)


def reply_from(message: Message) -> SiteReply:
    """The reply in a message. Raises ``Refused("bad-message")`` when it has not the right form."""
    if message.kind == "error":
        code, sentence = _field(message, "code", str), _field(message, "sentence", str)
        return ErrorReply(plain(code)[:MAX_CODE], plain(sentence)[:MAX_SENTENCE])
    try:
        return _REPLIES[message.kind](message)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        raise Refused("bad-message", "a reply has not the form of its kind") from None


def _field(message: Message, name: str, kind: type[T] | tuple[type, ...]) -> Any:
    value = message.header.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused("bad-message", f"a {message.kind[:20]!r} message without a proper '{name}'")
    return value


def time_in(message: Message) -> float:
    """The deadline in a header, Unix time. Raises ``Refused`` for none, and for one that is no
    time."""
    try:
        deadline = float(_field(message, "deadline", (int, float)))
    except OverflowError:
        deadline = math.inf
    if not math.isfinite(deadline):
        raise Refused("bad-task", "the deadline is not a time")
    return deadline
