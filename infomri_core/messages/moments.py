"""Noised second moments of k-space as typed values: what is asked, and all that may answer."""

from dataclasses import dataclass

import numpy as np

from infomri_core.messages.budget import Budget, budget_from, epsilon_from
from infomri_core.messages.wire import Message
from infomri_core.system.errors import Refused


@dataclass(frozen=True)
class MomentsTask:
    """Ask for the second moments of the training patients' k-space about ``mean``, float32
    (2, H, W): real and imaginary parts of the study centre's own mean k-space."""

    plan_text: str
    deadline: float
    mean: np.ndarray

    def to_message(self) -> Message:
        header = {"plan": self.plan_text, "deadline": self.deadline}
        return Message("moments", header, {"mean": self.mean})


@dataclass(frozen=True)
class MomentsReply:
    """``total`` (2, H, W) float32: the sum over patients (or slices) of their clipped squares,
    with noise. ``n_units``: how many they are, rounded by the gate. ``epsilon``: what this study
    has spent here so far, at the plan's delta; ``budget``: the site's own, where it tells it.
    There is no room for a first moment: the mean of k-space is the mean image."""

    total: np.ndarray
    n_units: int
    epsilon: float | None = None
    budget: Budget | None = None

    def to_message(self) -> Message:
        header = {"n_units": self.n_units, "epsilon": self.epsilon, "budget": self.budget}
        return Message("moments", header, {"total": self.total})


def moments_task_from(message: Message, plan: str, deadline: float) -> MomentsTask:
    """The rest of a moments task. Raises ``Refused("bad-message")``."""
    if set(message.arrays) != {"mean"}:
        raise Refused("bad-message", "a moments task without its one array 'mean'")
    return MomentsTask(plan, deadline, message.arrays["mean"])


def moments_from(message: Message) -> MomentsReply:
    """The moments in a message; ``ValueError`` or ``KeyError`` when it has not the form."""
    header, total = message.header, message.arrays["total"]
    if len(message.arrays) > 1 or total.dtype != np.float32 or not np.isfinite(total).all():
        raise ValueError("total")
    epsilon, budget = epsilon_from(header["epsilon"]), budget_from(header.get("budget"))
    return MomentsReply(total, int(header["n_units"]), epsilon, budget)
