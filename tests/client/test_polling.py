"""How long a site waits for tasks, in Flower's own main loop."""

import inspect
import threading
from pathlib import Path

import pytest
from flwr.supernode import start_client_internal

from fl_client.network import supernode
from fl_client.network.polling import (
    LEAST_SECONDS,
    MOST_SECONDS,
    REPLY_SECONDS,
    Bell,
    Pauses,
    Poller,
    bell_file,
)


class Stopped(Exception):
    """Ends a loop that has no end."""


class Clock:
    """Time that goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_pauses_grow_with_the_time_since_the_last_task() -> None:
    clock = Clock()
    pauses = Pauses(clock)
    assert pauses.seconds() == MOST_SECONDS  # an idle site
    pauses.heard()
    assert pauses.seconds() == LEAST_SECONDS
    clock.now += 10
    assert pauses.seconds() == pytest.approx(1.0)
    clock.now += 1000
    assert pauses.seconds() == MOST_SECONDS


def test_a_phase_of_any_length_is_noticed_within_a_tenth_of_it() -> None:
    for length in (0.3, 1.0, 7.0, 29.0, 300.0):
        clock = Clock()
        pauses = Pauses(clock)
        pauses.heard()
        while clock.now < 100 + length:
            clock.sleep(pauses.seconds())
        assert clock.now - 100 - length <= max(LEAST_SECONDS, min(0.1 * length, MOST_SECONDS))


def test_flowers_main_loop_sleeps_as_the_poller_says(tmp_path: Path) -> None:
    """The names that are replaced are those which Flower's loop uses."""
    slept: list[float] = []

    class State:
        def get_messages_legacy(self, is_reply: bool) -> list[object]:
            if len(slept) == 3:
                raise Stopped
            return []

    bell_file(tmp_path).parent.mkdir()
    loop = dict(vars(start_client_internal))
    replaced = ("time", "_push_messages", "pull_objects")
    try:
        supernode.pace(vars(start_client_internal), bell_file(tmp_path), slept.append)
        with pytest.raises(Stopped):
            start_client_internal._push_messages(State(), None, None, None)  # type: ignore[arg-type]
    finally:
        vars(start_client_internal).update({name: loop[name] for name in replaced})
    assert slept == [REPLY_SECONDS] * 3
    assert bell_file(tmp_path).read_text() == "1"
    uses = start_client_internal.start_client_internal.__code__.co_names
    assert {"time", "sleep", "_push_messages"} <= set(uses)


def test_objects_that_are_to_come_are_waited_for_shortly(tmp_path: Path) -> None:
    loop = dict(vars(start_client_internal))
    supernode.pace(loop, bell_file(tmp_path))
    assert "pull_objects" in start_client_internal._pull_and_store_message.__code__.co_names
    given = inspect.signature(start_client_internal.pull_objects).parameters
    for name, value in loop["pull_objects"].keywords.items():
        assert value < given[name].default


def test_the_long_sleep_is_for_no_task(tmp_path: Path) -> None:
    clock = Clock()
    slept: list[float] = []
    pauses = Pauses(clock)
    poller = Poller(tmp_path / "bell", pauses, slept.append)
    poller.sleep(3)
    pauses.heard()
    poller.sleep(3)
    assert slept == [MOST_SECONDS, LEAST_SECONDS]


def test_every_task_rings_and_the_pauses_begin_again_with_its_reply(tmp_path: Path) -> None:
    clock = Clock()
    pauses = Pauses(clock)
    poller = Poller(tmp_path / "bell", pauses)
    push = poller.ringing(lambda: clock.sleep(60.0))
    push()
    assert pauses.seconds() == LEAST_SECONDS
    push()
    assert (tmp_path / "bell").read_text() == "2"


def test_a_bell_that_cannot_be_rung_keeps_no_task(tmp_path: Path) -> None:
    done: list[str] = []
    Poller(tmp_path / "absent" / "bell", Pauses()).ringing(done.append)("reply")
    assert done == ["reply"]


def test_the_executor_returns_at_a_ring_and_without_one(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    bell = Bell(path)
    bell.wait(0.05)  # a lost ring costs no more than this
    path.write_text("1")
    bell.wait(3600.0)  # it rang before
    looked = threading.Event()

    def sleep(seconds: float) -> None:
        looked.set()
        threading.Event().wait(0.001)

    waiting = Bell(path, sleep)
    thread = threading.Thread(target=waiting.wait, args=(3600.0,), daemon=True)
    thread.start()
    assert looked.wait(60)
    path.write_text("two rings are of different lengths")
    thread.join(60)
    assert not thread.is_alive()
