"""A round of training as typed values: what is asked, and the weights that answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from infomri_core.messages.budget import Budget, budget_from, epsilon_from
from infomri_core.messages.precision import PRECISIONS, packed, unpacked
from infomri_core.messages.secure import Masking, masking_from
from infomri_core.messages.wire import Arrays, Message, under, within
from infomri_core.system.errors import Refused
from infomri_core.system.plain import plain


@dataclass(frozen=True)
class TrainTask:
    """One round for every arm.

    Args:
        plan_text: The whole plan.
        round: From 1.
        deadline: Unix time, seconds.
        variance: (2, H, W) of the real and imaginary parts of k-space.
        arms: Flat float32 weights by arm.
        masking: How the update is to be masked, where the plan has secure aggregation.
        factors: (q, H, W) of the audit set's covariance, where an arm's suppression needs them.
    """

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
    """Weights after the local steps.

    Args:
        n_samples: Slices that were trained on.
        arms: Flat weights by arm; where ``precision`` is not float32, by how much they differ from
            those of the task, rounded (``infomri_core.messages.precision``).
        losses: Means over the round's steps by arm, of the task's terms and ``entropy`` (nats).
        dropped: Arms that diverged, which carry no weights.
        epsilon: What this study has spent here so far, at the plan's delta; None without
            differential privacy.
        budget: The site's own, where it reports it.
        lost_state: Arms whose optimizer state the site had lost, so that they continued with a
            fresh one.
    """

    n_samples: int
    arms: Arrays
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    epsilon: float | None = None
    budget: Budget | None = None
    lost_state: tuple[str, ...] = ()
    precision: str = "float32"

    def to_message(self) -> Message:
        header = {
            "n_samples": self.n_samples,
            "losses": {name: dict(terms) for name, terms in self.losses.items()},
            "dropped": list(self.dropped),
            "epsilon": self.epsilon,
            "budget": self.budget,
            "lost_state": list(self.lost_state),
            "precision": self.precision,
        }
        if self.precision == "float32":
            return Message("trained", header, under("arm", self.arms))
        arrays = dict[str, np.ndarray]()
        for name, update in self.arms.items():
            arrays |= under(f"arm/{name}", packed(update, self.precision))
        return Message("trained", header, arrays)


def train_task_from(message: Message, plan: str, number: int, deadline: float) -> TrainTask:
    """The rest of a train task. Raises ``Refused("bad-message")``."""
    if "variance" not in message.arrays:
        raise Refused("bad-message", "a train task without 'variance'")
    masking = masking_from(message.header.get("masking"))
    arms, variance = within("arm", message.arrays), message.arrays["variance"]
    factors = message.arrays.get("factors")
    return TrainTask(plan, number, deadline, variance, arms, masking, factors)


def trained_from(message: Message) -> TrainReply:
    """The reply in a message; errors as in :func:`~infomri_core.messages.enrol.card_from`."""
    h = message.header
    losses = {a: {k: float(v) for k, v in terms.items()} for a, terms in h["losses"].items()}
    precision = str(h.get("precision", "float32"))
    if precision not in PRECISIONS:
        raise ValueError("precision")
    return TrainReply(
        n_samples=int(h["n_samples"]),
        arms=_arms(message, precision),
        losses=losses,
        dropped=tuple(plain(str(name)) for name in h["dropped"]),
        epsilon=epsilon_from(h["epsilon"]),
        budget=budget_from(h.get("budget")),
        lost_state=tuple(plain(str(name)) for name in h.get("lost_state", ())),
        precision=precision,
    )


def _arms(message: Message, precision: str) -> dict[str, np.ndarray]:
    found = within("arm", message.arrays)
    if precision == "float32":
        return found
    names = dict.fromkeys(key.rpartition("/")[0] for key in found)
    return {name: unpacked(within(name, found), precision) for name in names}
