"""The courier: bytes through, errors as InfoMRI replies, never a word of an exception."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fl_client.network import courier
from fl_client.sockets import channel
from fl_server.study.enrolment import PASSING
from infomri_core.messages import EnrolTask, ErrorReply, reply_from, wire

SECRET = "patient Miller"


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """A vault that echoes, reachable at a path; what it was asked is in the list."""
    asked: list[bytes] = []
    stop = threading.Event()

    def handle(data: bytes) -> bytes:
        asked.append(data)
        if b"raise" in data:
            raise OSError(SECRET)
        if b"slow" in data:
            stop.wait(5)
        return data[::-1]

    path = tmp_path / "run" / "vault.sock"
    thread = threading.Thread(target=channel.serve, args=(path, handle, stop))
    thread.start()
    while not channel.listening(path):
        thread.join(0.01)
    yield path, asked
    stop.set()
    thread.join()


def task(plan: str = "plan", seconds: float = 30.0) -> bytes:
    return wire.encode(EnrolTask(plan, time.time() + seconds).to_message())


def error(content: RecordDict) -> ErrorReply:
    reply = reply_from(wire.decode(courier.unpack(content)))
    assert isinstance(reply, ErrorReply)
    return reply


def test_bytes_go_to_the_vault_and_back_unchanged(vault: tuple[Path, list[bytes]]) -> None:
    path, asked = vault
    data = task()
    assert courier.unpack(courier.carry(courier.pack(data), path)) == data[::-1]
    assert asked == [data]


def test_a_passed_deadline_is_an_error_and_the_vault_is_not_asked(
    vault: tuple[Path, list[bytes]],
) -> None:
    path, asked = vault
    assert error(courier.carry(courier.pack(task(seconds=-1)), path)).code == "deadline"
    assert asked == []


def test_a_vault_that_is_too_slow_is_left_at_the_deadline(
    vault: tuple[Path, list[bytes]],
) -> None:
    reply = error(courier.carry(courier.pack(task("slow", seconds=0.3)), vault[0]))
    assert reply.code == "deadline"


def test_no_vault_is_an_error_reply(tmp_path: Path) -> None:
    reply = error(courier.carry(courier.pack(task(seconds=0.5)), tmp_path / "none.sock"))
    assert reply.code in ("vault-unreachable", "deadline")


def test_a_task_is_repeated_once_to_a_vault_that_hung_up(
    vault: tuple[Path, list[bytes]],
) -> None:
    path, asked = vault
    reply = error(courier.carry(courier.pack(task("raise")), path))
    assert reply.code == "vault-died"
    assert reply.code not in PASSING
    assert SECRET not in reply.sentence
    assert len(asked) == 2


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"infomri": ArrayRecord({"message": courier.Array(np.zeros(3))})}),
        RecordDict({"infomri": ArrayRecord()}),
        RecordDict({"infomri": ConfigRecord()}),
        RecordDict({"infomri": ConfigRecord({"message": "text"})}),
        RecordDict({"infomri": ConfigRecord({"message": [b"a", b"b"]})}),
        RecordDict({"infomri": MetricRecord({"message": 1})}),
        courier.pack(b"garbage"),
        courier.pack(wire.encode(wire.Message("enrol", {"plan": "no deadline"}))),
        courier.pack(wire.encode(wire.Message("enrol", {"deadline": float("inf")}))),
    ],
)
def test_what_is_no_task_is_refused_before_the_vault(
    content: RecordDict, vault: tuple[Path, list[bytes]]
) -> None:
    path, asked = vault
    assert error(courier.carry(content, path)).code == "bad-message"
    assert asked == []
