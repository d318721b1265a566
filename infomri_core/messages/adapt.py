"""Federated training of an attack as typed values: what insiders are asked, and answer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from infomri_core.messages.wire import Arrays, Message, under, within
from infomri_core.system.errors import Refused

NETWORK = "network."
"""What of an attack's arrays is trained further; the rest stays the study centre's."""


@dataclass(frozen=True)
class AdaptTask:
    """Train an attack further on this site's training images.

    ``round``: which of the plan's ``insider_rounds``. ``arms``: flat weights, for the masks.
    ``start``: the attack's arrays that stay; ``networks``: those to be trained, a set for each
    group of sites that the result will attack.
    """

    plan_text: str
    round: int
    deadline: float
    arms: Arrays
    start: Arrays
    networks: Mapping[str, Arrays]

    def to_message(self) -> Message:
        header = {"plan": self.plan_text, "round": self.round, "deadline": self.deadline}
        arrays = {**under("arm", self.arms), **under("start", self.start)}
        for group, network in self.networks.items():
            arrays |= under(f"network/{group}", network)
        return Message("adapt", {**header, "groups": list(self.networks)}, arrays)


@dataclass(frozen=True)
class AdaptReply:
    """The networks after training on ``n_samples`` images, by group."""

    n_samples: int
    networks: Mapping[str, Arrays]

    def to_message(self) -> Message:
        arrays: dict[str, np.ndarray] = {}
        for group, network in self.networks.items():
            arrays |= under(f"network/{group}", network)
        header = {"n_samples": self.n_samples, "groups": list(self.networks)}
        return Message("adapted", header, arrays)


def adapt_task_from(message: Message, plan: str, number: int, deadline: float) -> AdaptTask:
    """The rest of the task. Raises ``Refused("bad-message")``."""
    groups = message.header.get("groups")
    if not isinstance(groups, list) or not all(isinstance(g, str) for g in groups):
        raise Refused("bad-message", "an adapt task without proper groups")
    arms, start = within("arm", message.arrays), within("start", message.arrays)
    return AdaptTask(plan, number, deadline, arms, start, _networks(message, groups))


def adapted_from(message: Message) -> AdaptReply:
    """The reply in a message; ``KeyError`` or ``TypeError`` when it has not the form."""
    groups = [str(group) for group in message.header["groups"]]
    return AdaptReply(int(message.header["n_samples"]), _networks(message, groups))


def _networks(message: Message, groups: list[str]) -> dict[str, dict[str, np.ndarray]]:
    return {group: within(f"network/{group}", message.arrays) for group in groups}
