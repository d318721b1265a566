"""Secure aggregation as typed values: three small jobs around a training that leaves masked.

``announce`` and ``share`` prepare a session: keys for up to 32 sums, each used once. The study
centre relays what the sites say to each other and can read none of it. ``train`` then names a
session and a slot of it in its :class:`Masking`, and ``unmask`` asks for the shares that undo the
masks of that slot's sum. The sums of scores leave in the same way (``evaluate``), in a slot of
their own. See :mod:`infomri_core.secagg`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infomri_core.messages.budget import Budget, budget_from, epsilon_from
from infomri_core.messages.wire import Message
from infomri_core.secagg.announcement import Announcement
from infomri_core.secagg.masking import labelled
from infomri_core.secagg.participant import Unmasking
from infomri_core.system.errors import Refused

MAX_SLOTS = 32
MAX_SITES = 1000
Shares = Mapping[str, Mapping[str, bytes]]
"""Encrypted shares by sender, then recipient."""


@dataclass(frozen=True)
class AnnounceTask:
    """Ask for signed keys of ``slots`` sums to come, the first of them in ``round``. ``session``,
    32 hexadecimal digits, names what is being prepared."""

    plan_text: str
    round: int
    deadline: float
    session: str
    slots: int

    def to_message(self) -> Message:
        return Message("announce", _head(self) | {"slots": self.slots})


@dataclass(frozen=True)
class AnnounceReply:
    """A site's keys, one announcement a slot."""

    announcements: tuple[Announcement, ...]

    def to_message(self) -> Message:
        return Message("announced", {"slots": [_spelled(a) for a in self.announcements]})


@dataclass(frozen=True)
class ShareTask:
    """What all sites announced, by slot; ask for each site's shares of its secrets."""

    plan_text: str
    round: int
    deadline: float
    session: str
    announcements: tuple[tuple[Announcement, ...], ...]

    def to_message(self) -> Message:
        slots = [[_spelled(a) for a in announced] for announced in self.announcements]
        return Message("share", _head(self) | {"slots": slots})


@dataclass(frozen=True)
class ShareReply:
    """Encrypted shares by slot and recipient."""

    shares: tuple[Mapping[str, bytes], ...]

    def to_message(self) -> Message:
        return Message("shared", {"slots": [_hex(shares) for shares in self.shares]})


@dataclass(frozen=True)
class Masking:
    """Under which slot of which session an update is to leave, with the shares of all sites that
    take part. Every site is sent the same."""

    session: str
    slot: int
    shares: Shares

    def to_header(self) -> dict[str, Any]:
        """The masking as JSON values."""
        shares = {sender: _hex(box) for sender, box in self.shares.items()}
        return {"session": self.session, "slot": self.slot, "shares": shares}

    def binding(self, question: str) -> bytes:
        """What the masks are bound to: the sha256 of the ``question`` (a task without deadline
        and masking, :func:`infomri_core.messages.task_digest`) and of this masking."""
        said = json.dumps(self.to_header(), sort_keys=True)
        return hashlib.sha256(labelled(question, said)).digest()


@dataclass(frozen=True)
class MaskedReply:
    """An update or the sums of scores under masks, uint64 (n,), uniformly random to anyone who has
    not the masks.
    ``epsilon``, ``budget`` and ``lost_state`` as in a ``TrainReply``."""

    vector: np.ndarray
    epsilon: float | None = None
    budget: Budget | None = None
    lost_state: tuple[str, ...] = ()

    def to_message(self) -> Message:
        header = {
            "epsilon": self.epsilon,
            "budget": self.budget,
            "lost_state": list(self.lost_state),
        }
        return Message("masked", header, {"vector": self.vector.view(np.int64)})


@dataclass(frozen=True)
class UnmaskTask:
    """Ask for the shares that undo the masks in the sum over the sites that ``delivered``.
    ``job``: what was masked, ``train`` or ``evaluate``."""

    plan_text: str
    round: int
    deadline: float
    session: str
    slot: int
    delivered: tuple[str, ...]
    job: str = "train"

    def to_message(self) -> Message:
        header = _head(self) | {"slot": self.slot, "delivered": list(self.delivered)}
        if self.job != "train":
            header["job"] = self.job
        return Message("unmask", header)


@dataclass(frozen=True)
class UnmaskReply:
    """A site's shares of the seeds of those that delivered, and of the mask keys of the others."""

    unmasking: Unmasking

    def to_message(self) -> Message:
        seeds, keys = _hex(self.unmasking.seeds), _hex(self.unmasking.mask_keys)
        return Message("unmasked", {"seeds": seeds, "mask_keys": keys})


SecureTask = AnnounceTask | ShareTask | UnmaskTask
SecureReply = AnnounceReply | ShareReply | UnmaskReply
MASKED_JOBS = ("train", "evaluate")
"""Whose replies may leave under masks."""
SECURE_JOBS = ("announce", "share", "unmask")


def context_of(plan_digest: str, session: str, slot: int) -> bytes:
    """The name of one sum, which keys and masks are made for."""
    return labelled(plan_digest, session, str(slot))


def secure_task_from(message: Message, plan: str, number: int, deadline: float) -> SecureTask:
    """The rest of a task of :data:`SECURE_JOBS`. Raises ``Refused("bad-message")``."""
    h = message.header
    try:
        head = (plan, number, deadline, _session(h["session"]))
        if message.kind == "announce":
            return AnnounceTask(*head, _whole(h["slots"], 1, MAX_SLOTS))
        if message.kind == "unmask":
            delivered = tuple(_name(name) for name in _few(h["delivered"], MAX_SITES))
            job = h.get("job", MASKED_JOBS[0])
            if job not in MASKED_JOBS:
                raise ValueError("job")
            return UnmaskTask(*head, _whole(h["slot"], 0, MAX_SLOTS - 1), delivered, job)
        slots = _few(h["slots"], MAX_SLOTS)
        announced = tuple(tuple(_announcement(a) for a in _few(s, MAX_SITES)) for s in slots)
        return ShareTask(*head, announced)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused("bad-message", "a task of secure aggregation has not its form") from None


def masking_from(header: Any) -> Masking | None:
    """The masking in a task's header, None where there is none. Raises
    ``Refused("bad-message")``."""
    if header is None:
        return None
    try:
        boxes = header["shares"].items()
        shares = {_name(sender): _bytes_by_name(box) for sender, box in boxes}
        slot = _whole(header["slot"], 0, MAX_SLOTS - 1)
        return Masking(_session(header["session"]), slot, shares)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused("bad-message", "a task with malformed masking") from None


def announced_from(message: Message) -> AnnounceReply:
    """The announcements in a reply; ``ValueError``, ``KeyError`` or ``TypeError`` otherwise."""
    slots = _few(message.header["slots"], MAX_SLOTS)
    return AnnounceReply(tuple(_announcement(a) for a in slots))


def shared_from(message: Message) -> ShareReply:
    """The shares in a reply; errors as in :func:`announced_from`."""
    slots = _few(message.header["slots"], MAX_SLOTS)
    return ShareReply(tuple(_bytes_by_name(box) for box in slots))


def masked_from(message: Message) -> MaskedReply:
    """The masked update in a reply; errors as in :func:`announced_from`."""
    vector = message.arrays["vector"]
    if vector.dtype != np.int64 or vector.ndim != 1 or len(message.arrays) > 1:
        raise ValueError("vector")
    epsilon = epsilon_from(message.header["epsilon"])
    budget = budget_from(message.header.get("budget"))
    lost = tuple(str(name) for name in message.header.get("lost_state", ()))
    return MaskedReply(vector.view(np.uint64), epsilon, budget, lost)


def unmasked_from(message: Message) -> UnmaskReply:
    """The shares in a reply; errors as in :func:`announced_from`."""
    seeds = _bytes_by_name(message.header["seeds"])
    return UnmaskReply(Unmasking(seeds, _bytes_by_name(message.header["mask_keys"])))


def _head(task: SecureTask) -> dict[str, Any]:
    return {
        "plan": task.plan_text,
        "round": task.round,
        "deadline": task.deadline,
        "session": task.session,
    }


def _spelled(a: Announcement) -> list[str]:
    return [a.name, a.mask_key.hex(), a.cipher_key.hex(), a.signature.hex()]


def _announcement(words: Any) -> Announcement:
    name, *parts = words
    mask_key, cipher_key, signature = (bytes.fromhex(part) for part in parts)
    if len(mask_key) != 32 or len(cipher_key) != 32 or len(signature) > 200:
        raise ValueError("keys")
    return Announcement(_name(name), mask_key, cipher_key, signature)


def _hex(parts: Mapping[str, bytes]) -> dict[str, str]:
    return {name: part.hex() for name, part in parts.items()}


def _bytes_by_name(table: Any) -> dict[str, bytes]:
    return {_name(name): bytes.fromhex(part) for name, part in table.items()}


def _name(text: Any) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= 64:
        raise ValueError("name")
    return text


def _session(text: Any) -> str:
    if len(bytes.fromhex(text)) != 16:
        raise ValueError("session")
    return str(text)


def _whole(number: Any, low: int, high: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise ValueError("number")
    return number


def _few(items: Any, most: int) -> list[Any]:
    if not isinstance(items, list) or not len(items) <= most:
        raise ValueError("list")
    return items
