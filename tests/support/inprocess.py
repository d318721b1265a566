"""A whole federation in one process: the real ServerApp side and the real courier, no network.

``InProcessGrid({1: handle, 2: handle})`` gives each node id a vault's ``handle(bytes) -> bytes``.
Faults are switched on by node: see :class:`Node`.
"""

import copy
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fl_client.network import courier

Handle = Callable[[bytes], bytes]


@dataclass
class Node:
    """A site of the fake federation. ``fail``, ``lose`` and ``garble`` count the next messages to
    be answered by a Flower error, by nothing, or by content that is no InfoMRI message."""

    handle: Handle
    online: bool = True
    activated: int = 0
    fail: int = 0
    lose: int = 0
    garble: int = 0
    asked: int = 0


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, now: float = 1.8e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class InProcessGrid(Grid):
    """Calls the installed ClientApp when a reply is pulled; content is copied as a wire would."""

    def __init__(self, handles: Mapping[int, Handle], run_id: int = 7) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, 1, 1
        self.nodes = {node: Node(handle) for node, handle in handles.items()}
        self._run = Run.create_empty(run_id)
        self._sent: dict[str, Message] = {}
        self._numbers = itertools.count()

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return Message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        return [node for node, state in self.nodes.items() if state.online]

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [
            NodeInfo(node_id=node, last_activated_at=str(self.nodes[node].activated))
            for node in self.get_node_ids()
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            identifier = f"message-{next(self._numbers)}"
            sent = copy.deepcopy(message)
            sent.metadata.__dict__["_message_id"] = identifier
            self._sent[identifier] = sent
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = (self._answer(identifier) for identifier in message_ids)
        return [reply for reply in replies if reply is not None]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _answer(self, identifier: str) -> Message | None:
        message = self._sent.get(identifier)
        if message is None:
            return None
        node = self.nodes[message.metadata.dst_node_id]
        if not node.online and not node.fail:
            return None
        del self._sent[identifier]
        node.asked += 1
        if node.fail:
            node.fail -= 1
            error = Error(ErrorCode.NODE_UNAVAILABLE, "gone")
            reply = Message(error, reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = 1
            return reply
        if node.lose:
            node.lose -= 1
            return None
        if node.garble:
            node.garble -= 1
            return Message(RecordDict(), reply_to=message)
        return _courier(message, node.handle)


def _courier(message: Message, handle: Handle) -> Message:
    """The real ClientApp with ``handle`` behind its vault's socket."""
    node = message.metadata.dst_node_id
    context = Context(message.metadata.run_id, node, {}, RecordDict(), {})

    def call(path: Path, data: bytes, timeout: float) -> bytes:
        return handle(data)

    with (
        mock.patch.object(courier.channel, "call", call),
        mock.patch.dict(os.environ, {courier.VAULT_SOCKET: f"/node/{node}"}),
    ):
        return copy.deepcopy(courier.app(message, context))
