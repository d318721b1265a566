"""The one place that talks to Flower at the study centre: tasks out, replies in as they arrive."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from infomri_core.messages import (
    AdaptTask,
    AnnounceTask,
    EnrolTask,
    ErrorReply,
    EvaluateTask,
    MomentsTask,
    ReleaseTask,
    ShareTask,
    SiteReply,
    SiteTask,
    TrainTask,
    UnmaskTask,
    reply_from,
    wire,
)
from infomri_core.system.errors import Refused

MESSAGE_TYPES = {
    EnrolTask: "query.enrol",
    MomentsTask: "query.moments",
    AnnounceTask: "query.announce",
    ShareTask: "query.share",
    TrainTask: "train",
    UnmaskTask: "query.unmask",
    AdaptTask: "train.adapt",
    EvaluateTask: "evaluate",
    ReleaseTask: "query.release",
}
GRACE_SECONDS = 20.0
SILENCE_SECONDS = 300.0
SHORT_BYTES = 2**20
"""Of a message that travels in one piece."""
_SETTLE_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_PARTS = 4
"""One site of so many is looked at first, to see whether replies are there."""
OBJECT_SECONDS = 0.05
MOST_OBJECT_SECONDS = 1.0
"""A reply is announced before its objects (content, arrays) are there. The first pause before one
is asked for again, and the longest: it doubles. Flower's own are 1 s and 10 s."""
_SHARE = 0.05
"""A pause between two looks for replies, as a share of the time since the task was sent."""

_log = logging.getLogger(__name__)


def hasten(grid: dict[str, Any]) -> None:
    """Have Flower's module with the names ``grid`` wait shortly for objects that are to come."""
    grid["pull_objects"] = partial(
        grid["pull_objects"], initial_backoff=OBJECT_SECONDS, backoff_cap=MOST_OBJECT_SECONDS
    )


def pack(data: bytes) -> RecordDict:
    """The Flower content that holds one InfoMRI message. Each object of Flower's is a request of
    its own on every leg: a short message is one, a long one an array that travels in pieces."""
    if len(data) <= SHORT_BYTES:
        return RecordDict({"infomri": ConfigRecord({"message": data})})
    array = Array(dtype="uint8", shape=(len(data),), stype="infomri.message", data=data)
    return RecordDict({"infomri": ArrayRecord({"message": array})})


def unpack(content: RecordDict) -> SiteReply:
    """The reply in a Flower content. Raises ``Refused("bad-message")`` on anything else."""
    record = content.get("infomri")
    held = record.get("message") if isinstance(record, ConfigRecord | ArrayRecord) else None
    if isinstance(held, Array):
        held = held.data
    if not isinstance(held, bytes):
        raise Refused("bad-message", "the Flower message holds no InfoMRI message")
    return reply_from(wire.decode(held))


@dataclass
class _Pending:
    """A site whose reply is awaited. Any of ``messages`` may bring it."""

    sent: float
    activation: str
    content: RecordDict
    messages: list[str] = field(default_factory=list)
    failed: bool = False
    restarted: float | None = None
    repetitions: int = 0


class GridSites:
    """The sites of a federation as a :class:`fl_server.sites.base.Sites`, over a Flower ``Grid``.

    A task is repeated to a site that Flower reported as failed, that came back from a restart
    without having answered, or that was silent for long: a message can be lost inside a SuperNode
    without a word. The patience is ``silence`` seconds, less where the deadline is near, more
    where others took long, and doubles with each repetition; the vault answers a repetition from
    its cache. ``clock`` and ``sleep`` are arguments for the tests' sake.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self._grid = grid
        self._clock = clock
        self._sleep = sleep
        self._silence = silence

    def online(self) -> list[str]:
        """Node ids that Flower counts as online, in ascending order."""
        return sorted(self._activations(), key=int)

    def ask(self, task: SiteTask, to: Sequence[str]) -> Iterator[tuple[str, SiteReply]]:
        """Send ``task`` to the nodes ``to``; yield (node id, reply) as replies arrive.

        Ends when all have answered or the task's deadline and a grace for the way back have
        passed. One reply is held at a time. A malformed reply arrives as an ``ErrorReply``.
        """
        content = pack(wire.encode(task.to_message()))
        return self._ask(dict.fromkeys(to, content), MESSAGE_TYPES[type(task)], task.deadline)

    def ask_each(self, tasks: Mapping[str, SiteTask]) -> Iterator[tuple[str, SiteReply]]:
        """:meth:`ask` with a task of its own for each node, all of one kind and deadline."""
        if not tasks:
            return iter(())
        first = next(iter(tasks.values()))
        contents = {node: pack(wire.encode(task.to_message())) for node, task in tasks.items()}
        return self._ask(contents, MESSAGE_TYPES[type(first)], first.deadline)

    def _ask(
        self, contents: Mapping[str, RecordDict], kind: str, deadline: float
    ) -> Iterator[tuple[str, SiteReply]]:
        until = deadline + GRACE_SECONDS
        activations = self._activations()
        started = self._clock()
        pending = {
            node: _Pending(started, activations.get(node, ""), content)
            for node, content in contents.items()
        }
        self._send(pending, list(pending), kind, until)
        looked, slowest = started, math.inf
        while pending and self._clock() < until:
            arrived = False
            for node, reply in self._replies(pending):
                arrived, slowest = True, self._clock() - started
                yield node, reply
            now = self._clock()
            if pending and now - looked >= _LOOK_SECONDS:
                looked = now
                patience = self._patience(deadline - started, slowest)
                self._send(pending, self._overdue(pending, patience), kind, until)
            if pending and not arrived:
                self._sleep(min(max(0.1, _SHARE * (now - started)), 1.0))
        for node in pending:
            _log.warning("node %s did not answer %s in time", node, kind)

    def _activations(self) -> dict[str, str]:
        return {str(node.node_id): node.last_activated_at for node in self._grid.get_nodes()}

    def _send(
        self,
        pending: dict[str, _Pending],
        nodes: Sequence[str],
        kind: str,
        until: float,
    ) -> None:
        ttl = until - self._clock()
        if not nodes or ttl <= 0:
            return
        messages = [Message(pending[n].content, int(n), kind, ttl=ttl) for n in nodes]
        for node, message_id in zip(nodes, self._grid.push_messages(messages), strict=True):
            pending[node].failed = not message_id
            if message_id:
                pending[node].messages.append(message_id)

    def _replies(self, pending: dict[str, _Pending]) -> Iterator[tuple[str, SiteReply]]:
        """Replies that are there now, pulled one at a time; their sites leave ``pending``.

        Each look is a request, and sites answer at about the same time: where the first quarter
        has not answered, the others are not asked, and this quarter is last the next time.
        """
        first, nodes = 1 + len(pending) // _PARTS, list(pending)
        for number, node in enumerate(nodes):
            if number == first and len(pending) == len(nodes):
                return
            entry = pending[node]
            for message_id in list(entry.messages):
                message = self._pull(message_id)
                if message is None:
                    continue
                if not message.has_error():
                    del pending[node]
                    yield node, _decoded(message)
                    break
                _log.warning("Flower reports error %s for node %s", message.error.code, node)
                entry.messages.remove(message_id)
                entry.failed = not entry.messages
            else:
                pending[node] = pending.pop(node)

    def _pull(self, message_id: str) -> Message | None:
        """The reply to a message if it is there. Error replies carry a foreign source node, so
        only ``reply_to_message_id`` says whose they are."""
        for message in self._grid.pull_messages([message_id]):
            if message.metadata.reply_to_message_id == message_id:
                return message
        return None

    def _patience(self, allowed: float, slowest: float) -> float:
        """Seconds of silence after which a task counts as lost, when ``allowed`` were given for
        it and the slowest answer so far took ``slowest``, infinite where there is none."""
        if math.isinf(slowest):
            return allowed / 2
        return max(min(self._silence, allowed / 4), 3 * slowest)

    def _overdue(self, pending: dict[str, _Pending], patience: float) -> list[str]:
        """Sites online now whose task is lost, or may be."""
        online, now = self._activations(), self._clock()
        repeat = []
        for node, entry in pending.items():
            if node not in online:
                continue
            if online[node] != entry.activation:
                entry.activation, entry.restarted = online[node], now
            back = entry.restarted is not None and now - entry.restarted >= _SETTLE_SECONDS
            silent = now - entry.sent >= patience * 2**entry.repetitions
            if entry.failed or back or silent:
                _log.warning("sending the task to node %s again", node)
                entry.restarted = None
                entry.sent = now
                entry.repetitions += 1
                repeat.append(node)
        return repeat


def _decoded(message: Message) -> SiteReply:
    try:
        return unpack(message.content)
    except Refused as refusal:
        return ErrorReply(refusal.code, refusal.sentence)
