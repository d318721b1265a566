"""The closed list of what study centre and site say to each other, as typed values.

Every task carries the plan's whole text: the site recomputes its sha256 and compares it with what
it approved. ``deadline`` is a Unix time in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from infomri_core.messages.adapt import AdaptReply, AdaptTask
from infomri_core.messages.budget import Budget
from infomri_core.messages.evaluate import EvaluateReply, EvaluateTask
from infomri_core.messages.moments import MomentsReply, MomentsTask
from infomri_core.messages.release import ReleaseReply, ReleaseTask
from infomri_core.messages.secure import MaskedReply, Masking, SecureReply, SecureTask
from infomri_core.messages.wire import Arrays, Message, under


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
    """One round for every arm. ``arms``: flat float32 weights; ``variance``: (2, H, W).
    ``masking``: how the update is to be masked, where the plan has secure aggregation.
    ``factors`` (q, H, W) of the audit set's covariance, where an arm's suppression needs them."""

    plan_text: str
    round: int
    deadline: float
    variance: np.ndarray
    arms: Arrays
    masking: Masking | None = None
    factors: np.ndarray | None = None

    def to_message(self) -> Message:
        header = {"plan": self.plan_text, "round": self.round, "deadline": self.deadline}
        if self.masking is not None:
            header["masking"] = self.masking.to_header()
        arrays = {"variance": self.variance, **under("arm", self.arms)}
        if self.factors is not None:
            arrays["factors"] = self.factors
        return Message("train", header, arrays)


@dataclass(frozen=True)
class TrainReply:
    """Weights after the local steps. ``dropped`` names diverged arms, which carry no weights;
    ``losses`` are means over the round's steps per arm: ``ce`` and ``entropy`` (nats).
    ``epsilon`` is what this study has spent here so far, at the plan's delta; None without
    differential privacy. ``budget``: the site's own, where it tells it. ``lost_state``: arms whose
    optimizer state the site had lost, so that they continued with a fresh one."""

    n_samples: int
    arms: Arrays
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    epsilon: float | None = None
    budget: Budget | None = None
    lost_state: tuple[str, ...] = ()

    def to_message(self) -> Message:
        header = {
            "n_samples": self.n_samples,
            "losses": {name: dict(terms) for name, terms in self.losses.items()},
            "dropped": list(self.dropped),
            "epsilon": self.epsilon,
            "budget": self.budget,
            "lost_state": list(self.lost_state),
        }
        return Message("trained", header, under("arm", self.arms))


@dataclass(frozen=True)
class ErrorReply:
    """Why a site did not do a job: a code and a sentence that is safe to show anyone."""

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
