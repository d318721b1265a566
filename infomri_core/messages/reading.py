"""Messages back into typed values; whatever has not the right form is refused."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from infomri_core.messages.adapt import adapt_task_from, adapted_from
from infomri_core.messages.budget import budget_from
from infomri_core.messages.evaluate import evaluate_task_from, evaluated_from
from infomri_core.messages.moments import moments_from, moments_task_from
from infomri_core.messages.release import release_task_from, released_from
from infomri_core.messages.secure import (
    SECURE_JOBS,
    announced_from,
    masked_from,
    masking_from,
    secure_task_from,
    shared_from,
    unmasked_from,
)
from infomri_core.messages.values import (
    DatasetCard,
    EnrolTask,
    ErrorReply,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
)
from infomri_core.messages.wire import Message, within
from infomri_core.system.errors import Refused
from infomri_core.system.names import is_site_name
from infomri_core.system.plain import plain

T = TypeVar("T")
MAX_CODE, MAX_SENTENCE = 40, 400
"""The longest code and sentence of an error."""


def task_from(message: Message) -> SiteTask:
    """The task in a message. Raises ``Refused`` for an unknown job or a missing or odd field."""
    plan = _field(message, "plan", str)
    deadline = time_in(message)
    if message.kind == "enrol":
        return EnrolTask(plan, deadline)
    if message.kind == "moments":
        return moments_task_from(message, plan, deadline)
    round_number = _field(message, "round", int)
    if message.kind == "release":
        return release_task_from(message, plan, round_number, deadline)
    if message.kind in SECURE_JOBS:
        return secure_task_from(message, plan, round_number, deadline)
    if message.kind == "adapt":
        return adapt_task_from(message, plan, round_number, deadline)
    arms = within("arm", message.arrays)
    if message.kind == "train":
        if "variance" not in message.arrays:
            raise Refused("bad-message", "a train task without 'variance'")
        masking = masking_from(message.header.get("masking"))
        variance = message.arrays["variance"]
        factors = message.arrays.get("factors")
        return TrainTask(plan, round_number, deadline, variance, arms, masking, factors)
    if message.kind == "evaluate":
        return evaluate_task_from(message, plan, round_number, deadline, arms)
    raise Refused("unknown-job", "this site has no job of that name")


def reply_from(message: Message) -> SiteReply:
    """The reply in a message. Raises ``Refused("bad-message")`` when it has not the right form."""
    if message.kind == "error":
        code, sentence = _field(message, "code", str), _field(message, "sentence", str)
        return ErrorReply(plain(code)[:MAX_CODE], plain(sentence)[:MAX_SENTENCE])
    try:
        return _REPLIES[message.kind](message)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        raise Refused("bad-message", "a reply has not the form of its kind") from None


def _card_from(message: Message) -> DatasetCard:
    h = message.header
    height, width = (int(n) for n in h["shape"])
    if not is_site_name(h["site"]):
        raise ValueError("site")
    return DatasetCard(
        site=h["site"],
        n_patients=int(h["n_patients"]),
        n_slices=int(h["n_slices"]),
        n_positive=tuple(int(n) for n in h["n_positive"]),
        shape=(height, width),
        labels=tuple(str(name) for name in h["labels"]),
        versions={plain(str(k)): plain(str(v)) for k, v in h["versions"].items()},
    )


def _trained_from(message: Message) -> TrainReply:
    h = message.header
    losses = {a: {k: float(v) for k, v in terms.items()} for a, terms in h["losses"].items()}
    return TrainReply(
        n_samples=int(h["n_samples"]),
        arms=within("arm", message.arrays),
        losses=losses,
        dropped=tuple(plain(str(name)) for name in h["dropped"]),
        epsilon=None if h["epsilon"] is None else _positive(h["epsilon"]),
        budget=budget_from(h.get("budget")),
        lost_state=tuple(plain(str(name)) for name in h.get("lost_state", ())),
    )


_REPLIES: dict[str, Callable[[Message], SiteReply]] = {
    "card": _card_from,
    "moments": moments_from,
    "trained": _trained_from,
    "adapted": adapted_from,
    "evaluated": evaluated_from,
    "released": released_from,
    "announced": announced_from,
    "shared": shared_from,
    "masked": masked_from,
    "unmasked": unmasked_from,
}


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


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError
    return number
