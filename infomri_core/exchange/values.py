"""The closed list of what study centre and site say to each other, as typed values.

Every task carries the plan's whole text: the site recomputes its sha256 and compares it with what
it approved. ``deadline`` is a Unix time in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from infomri_core.exchange.release import ReleaseReply, ReleaseTask
from infomri_core.metrics import ImageQuality, ScoreHistogram
from infomri_core.privacy.linkage_summary import LinkageSummary
from infomri_core.wire import Arrays, Message


class Exchanged(Protocol):
    """Anything with a message form."""

    def to_message(self) -> Message: ...


def is_site_name(text: str) -> bool:
    """Whether ``text`` can name a site, and so a file too: up to 64 letters, digits, - _ ."""
    plain = all(c.isascii() and (c.isalnum() or c in "-_.") for c in text)
    return 0 < len(text) <= 64 and text[0].isalnum() and plain


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
    ``losses`` are means over the round's steps per arm: ``ce`` and ``entropy`` (nats).
    ``epsilon`` is what this study has spent here so far, at the plan's delta; None without
    differential privacy."""

    n_samples: int
    arms: Arrays
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    epsilon: float | None = None

    def to_message(self) -> Message:
        header = {
            "n_samples": self.n_samples,
            "losses": {name: dict(terms) for name, terms in self.losses.items()},
            "dropped": list(self.dropped),
            "epsilon": self.epsilon,
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
    """One arm at one acceleration: classification, the quality of each attack's images, and how
    often a measurement is matched to its patient (None where nobody asked)."""

    histogram: ScoreHistogram
    quality: Mapping[str, ImageQuality]
    linkage: LinkageSummary | None = None


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
            if scores.linkage is not None:
                arrays |= _under(f"{i}/linkage", scores.linkage.to_arrays())
        return Message("evaluated", {"n_patients": self.n_patients, "cells": cells}, arrays)


@dataclass(frozen=True)
class ErrorReply:
    """Why a site did not do a job: a code and a sentence that is safe to show anyone."""

    code: str
    sentence: str

    def to_message(self) -> Message:
        return Message("error", {"code": self.code, "sentence": self.sentence})


SiteTask = EnrolTask | TrainTask | EvaluateTask | ReleaseTask
SiteReply = DatasetCard | TrainReply | EvaluateReply | ReleaseReply | ErrorReply


def _under(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}
