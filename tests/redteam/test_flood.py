"""A courier gone mad: large messages, many connections. The vault's memory does not follow."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fl_client.sockets import channel
from infomri_core.messages import ErrorReply, MomentsTask, SiteTask, reply_from, wire
from tests.support.vault_fakes import (
    FAR,
    PLAN,
    RELEASE_PLAN,
    SHAPE,
    encode,
    enrol_task,
    jobs_in,
    make_plan,
    release_task,
    train_task,
)

MEBIBYTE = 2**20
PADDING = {"padding": np.zeros(6 * MEBIBYTE, np.uint8)}


def padded(task: SiteTask) -> bytes:
    """The task with unrequested arrays."""
    message = task.to_message()
    return wire.encode(wire.Message(message.kind, message.header, {**message.arrays, **PADDING}))


@pytest.mark.parametrize(
    ("task", "policy", "code"),
    [
        (enrol_task(), {}, "too-large"),
        (train_task(), {}, "too-large"),
        (release_task(RELEASE_PLAN), {}, "too-large"),
        (
            MomentsTask(
                make_plan(
                    privacy={"noise_multiplier": 1.0, "rate": 0.2, "lot": 2},
                    moments={"noise_multiplier": 1.0, "clip": 1.0},
                ).text,
                FAR,
                np.zeros((2, *SHAPE), np.float32),
            ),
            {},
            "too-large",
        ),
        (train_task(), {"approvals": "listed"}, "not-approved"),
        (train_task(PLAN), {"max_width": 3}, "policy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrays_that_no_plan_allows_are_not_decoded(
    tmp_path: Path,
    task: SiteTask,
    policy: dict[str, object],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = padded(task)

    def decode(data: bytes) -> wire.Message:
        raise AssertionError("its arrays were decoded")

    with jobs_in(tmp_path, approved=tmp_path / "approved.txt", **policy) as (jobs, site, _):
        with monkeypatch.context() as patched:
            patched.setattr(wire, "decode", decode)
            answer = jobs.handle(data)
        reply = reply_from(wire.decode(answer))
        assert isinstance(reply, ErrorReply) and reply.code == code
        assert site.calls == 0
        whole = reply_from(wire.decode(jobs.handle(encode(task))))
        assert not isinstance(whole, ErrorReply) or whole.code != "too-large"


@contextlib.contextmanager
def serving(path: Path, handle: Callable[[bytes], bytes]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=channel.serve, args=(path, handle, stop))
    thread.start()
    try:
        while not channel.listening(path):
            threading.Event().wait(0.005)
        yield
    finally:
        stop.set()
        thread.join(20)


def test_of_large_frames_one_at_a_time_is_in_memory(tmp_path: Path) -> None:
    inside, peak, lock = 0, 0, threading.Lock()
    let_go = threading.Event()

    def handle(data: bytes) -> bytes:
        nonlocal inside, peak
        if len(data) <= channel.SMALL_FRAME_BYTES:
            return b"small"
        with lock:
            inside += 1
            peak = max(peak, inside)
        assert let_go.wait(20)
        with lock:
            inside -= 1
        return b"large"

    path, large = tmp_path / "s", bytes(2 * MEBIBYTE)
    answers: list[bytes] = []
    with serving(path, handle):
        callers = [
            threading.Thread(target=lambda: answers.append(channel.call(path, large, 60)))
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        assert channel.call(path, b"x", 20) == b"small", "a small one does not wait for them"
        let_go.set()
        for caller in callers:
            caller.join(60)
    assert answers == [b"large"] * 4 and peak == 1


def test_connections_are_few_and_later_ones_wait(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = threading.active_count()
    with contextlib.ExitStack() as open_ones, serving(path, bytes):
        idle = []
        for _ in range(channel.MAX_CONNECTIONS):
            connection = open_ones.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(path))
            idle.append(connection)
        reached: list[bytes] = []
        late = threading.Thread(target=lambda: reached.append(channel.call(path, b"late", 60)))
        late.start()
        assert threading.active_count() - before <= channel.MAX_CONNECTIONS + 2
        for connection in idle:
            connection.close()
        late.join(60)
    assert reached == [b"late"]
