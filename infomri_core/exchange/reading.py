"""Messages back into typed values; whatever has not the right form is refused."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from infomri_core.errors import Refused
from infomri_core.exchange.release import release_task_from, released_from
from infomri_core.exchange.values import (
    DatasetCard,
    EnrolTask,
    ErrorReply,
    EvaluateReply,
    EvaluateTask,
    Scores,
    SiteReply,
    SiteTask,
    TrainReply,
    TrainTask,
    is_site_name,
)
from infomri_core.metrics import ImageQuality, ScoreHistogram
from infomri_core.privacy.linkage_summary import LinkageSummary
from infomri_core.wire import Arrays, Message

T = TypeVar("T")


def task_from(message: Message) -> SiteTask:
    """The task in a message. Raises ``Refused`` for an unknown job or a missing or odd field."""
    plan = _field(message, "plan", str)
    deadline = float(_field(message, "deadline", (int, float)))
    if message.kind == "enrol":
        return EnrolTask(plan, deadline)
    round_number = _field(message, "round", int)
    if message.kind == "release":
        return release_task_from(message, plan, round_number, deadline)
    arms = _within("arm", message.arrays)
    if message.kind == "train":
        if "variance" not in message.arrays:
            raise Refused("bad-message", "a train task without 'variance'")
        return TrainTask(plan, round_number, deadline, message.arrays["variance"], arms)
    if message.kind == "evaluate":
        attacks: dict[str, dict[str, np.ndarray]] = {}
        for key, array in _within("attack", message.arrays).items():
            name, _, part = key.partition("/")
            attacks.setdefault(name, {})[part] = array
        return EvaluateTask(plan, round_number, deadline, arms, attacks)
    raise Refused("unknown-job", "this site runs enrol, train, evaluate and release only")


def reply_from(message: Message) -> SiteReply:
    """The reply in a message. Raises ``Refused("bad-message")`` when it has not the right form."""
    if message.kind == "error":
        return ErrorReply(_field(message, "code", str), _field(message, "sentence", str))
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
        versions={str(k): str(v) for k, v in h["versions"].items()},
    )


def _trained_from(message: Message) -> TrainReply:
    h = message.header
    losses = {a: {k: float(v) for k, v in terms.items()} for a, terms in h["losses"].items()}
    return TrainReply(
        n_samples=int(h["n_samples"]),
        arms=_within("arm", message.arrays),
        losses=losses,
        dropped=tuple(str(name) for name in h["dropped"]),
        epsilon=None if h["epsilon"] is None else _positive(h["epsilon"]),
    )


def _evaluated_from(message: Message) -> EvaluateReply:
    scores = {}
    for i, (arm, acceleration, attacks) in enumerate(message.header["cells"]):
        cell = _within(str(i), message.arrays)
        quality = {
            name: ImageQuality.from_arrays(_within(f"quality/{name}", cell)) for name in attacks
        }
        histogram = ScoreHistogram.from_arrays(_within("histogram", cell))
        parts = _within("linkage", cell)
        linkage = LinkageSummary.from_arrays(parts) if parts else None
        scores[str(arm), float(acceleration)] = Scores(histogram, quality, linkage)
    return EvaluateReply(int(message.header["n_patients"]), scores)


_REPLIES: dict[str, Callable[[Message], SiteReply]] = {
    "card": _card_from,
    "trained": _trained_from,
    "evaluated": _evaluated_from,
    "released": released_from,
}


def _field(message: Message, name: str, kind: type[T] | tuple[type, ...]) -> Any:
    value = message.header.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused("bad-message", f"a {message.kind[:20]!r} message without a proper '{name}'")
    return value


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError
    return number


def _within(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    start = f"{prefix}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}
