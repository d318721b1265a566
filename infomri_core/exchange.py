"""The closed list of what study centre and site say to each other, as typed values.

Every task carries the plan's whole text: the site recomputes its sha256 and compares it with what
it approved. ``deadline`` is a Unix time in seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from infomri_core.errors import Refused
from infomri_core.metrics import ImageQuality, ScoreHistogram
from infomri_core.wire import Arrays, Message

T = TypeVar("T")


class Exchanged(Protocol):
    """Anything with a message form."""

    def to_message(self) -> Message: ...


@dataclass(frozen=True)
class EnrolTask:
    """Ask a site for its dataset card."""

    plan_text: str
    deadline: float

    def to_message(self) -> Message:
        return Message("enrol", {"plan": self.plan_text, "deadline": self.deadline})


@dataclass(frozen=True)
class DatasetCard:
    """A site's answer to ``enrol``: counts are rounded by the gate; no value of any patient."""

    site: str
    n_patients: int
    n_slices: int
    n_positive: tuple[int, ...]
    shape: tuple[int, int]
    labels: tuple[str, ...]
    versions: Mapping[str, str]

    def to_message(self) -> Message:
        header = {
            "site": self.site,
            "n_patients": self.n_patients,
            "n_slices": self.n_slices,
            "n_positive": list(self.n_positive),
            "shape": list(self.shape),
            "labels": list(self.labels),
            "versions": dict(self.versions),
        }
        return Message("card", header)


@dataclass(frozen=True)
class TrainTask:
    """One round for every arm. ``arms``: flat float32 weights; ``variance``: (2, H, W)."""

    plan_text: str
    round: int
    deadline: float
    variance: np.ndarray
    arms: Arrays

    def to_message(self) -> Message:
        header = {"plan": self.plan_text, "round": self.round, "deadline": self.deadline}
        return Message("train", header, {"variance": self.variance, **_under("arm", self.arms)})


@dataclass(frozen=True)
class TrainReply:
    """Weights after the local steps. ``dropped`` names diverged arms, which carry no weights;
    ``losses`` are means over the round's steps per arm: ``ce`` and ``entropy`` (nats)."""

    n_samples: int
    arms: Arrays
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    def to_message(self) -> Message:
        header = {
            "n_samples": self.n_samples,
            "losses": {name: dict(terms) for name, terms in self.losses.items()},
            "dropped": list(self.dropped),
        }
        return Message("trained", header, _under("arm", self.arms))


@dataclass(frozen=True)
class EvaluateTask:
    """Score arms and attacks. ``attacks`` maps an attack's name to its arrays."""

    plan_text: str
    round: int
    deadline: float
    arms: Arrays
    attacks: Mapping[str, Arrays] = field(default_factory=dict)

    def to_message(self) -> Message:
        header = {"plan": self.plan_text, "round": self.round, "deadline": self.deadline}
        arrays = dict(_under("arm", self.arms))
        for name, attack in self.attacks.items():
            arrays |= _under(f"attack/{name}", attack)
        return Message("evaluate", header, arrays)


@dataclass(frozen=True)
class Scores:
    """One arm at one acceleration: classification and the quality of each attack's images."""

    histogram: ScoreHistogram
    quality: Mapping[str, ImageQuality]


@dataclass(frozen=True)
class EvaluateReply:
    """``scores[arm, acceleration]``; ``n_patients`` rounded by the gate."""

    n_patients: int
    scores: Mapping[tuple[str, float], Scores]

    def to_message(self) -> Message:
        arrays: dict[str, np.ndarray] = {}
        cells = []
        for i, ((arm, acceleration), scores) in enumerate(self.scores.items()):
            cells.append([arm, acceleration, list(scores.quality)])
            arrays |= _under(f"{i}/histogram", scores.histogram.to_arrays())
            for name, quality in scores.quality.items():
                arrays |= _under(f"{i}/quality/{name}", quality.to_arrays())
        return Message("evaluated", {"n_patients": self.n_patients, "cells": cells}, arrays)


@dataclass(frozen=True)
class ErrorReply:
    """Why a site did not do a job: a code and a sentence that is safe to show anyone."""

    code: str
    sentence: str

    def to_message(self) -> Message:
        return Message("error", {"code": self.code, "sentence": self.sentence})


SiteTask = EnrolTask | TrainTask | EvaluateTask
SiteReply = DatasetCard | TrainReply | EvaluateReply | ErrorReply


def task_from(message: Message) -> SiteTask:
    """The task in a message. Raises ``Refused`` for an unknown job or a missing or odd field."""
    plan = _field(message, "plan", str)
    deadline = float(_field(message, "deadline", (int, float)))
    if message.kind == "enrol":
        return EnrolTask(plan, deadline)
    round_number = _field(message, "round", int)
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
    raise Refused("unknown-job", "this site runs enrol, train and evaluate only")


def reply_from(message: Message) -> SiteReply:
    """The reply in a message. Raises ``Refused("bad-message")`` when it has not the right form."""
    if message.kind == "error":
        return ErrorReply(_field(message, "code", str), _field(message, "sentence", str))
    try:
        return _REPLIES[message.kind](message)
    except (KeyError, TypeError, ValueError, IndexError):
        raise Refused("bad-message", "a reply has not the form of its kind") from None


def _card_from(message: Message) -> DatasetCard:
    h = message.header
    height, width = (int(n) for n in h["shape"])
    return DatasetCard(
        site=str(h["site"]),
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
    )


def _evaluated_from(message: Message) -> EvaluateReply:
    scores = {}
    for i, (arm, acceleration, attacks) in enumerate(message.header["cells"]):
        cell = _within(str(i), message.arrays)
        quality = {
            name: ImageQuality.from_arrays(_within(f"quality/{name}", cell)) for name in attacks
        }
        histogram = ScoreHistogram.from_arrays(_within("histogram", cell))
        scores[str(arm), float(acceleration)] = Scores(histogram, quality)
    return EvaluateReply(int(message.header["n_patients"]), scores)


_REPLIES: dict[str, Callable[[Message], SiteReply]] = {
    "card": _card_from,
    "trained": _trained_from,
    "evaluated": _evaluated_from,
}


def _field(message: Message, name: str, kind: type[T] | tuple[type, ...]) -> Any:
    value = message.header.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused("bad-message", f"a {message.kind[:20]!r} message without a proper '{name}'")
    return value


def _under(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _within(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    start = f"{prefix}/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}
