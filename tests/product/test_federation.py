"""Tasks out, replies in: GridSites over the real courier, with every fault of a real network."""

import inspect
import time
from collections.abc import Iterable
from functools import partial

import numpy as np
import pytest
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.superlink.grid import http_grid

from fl_client.network import courier
from fl_server.sites.grid import (
    GRACE_SECONDS,
    SHORT_BYTES,
    GridSites,
    hasten,
    pack,
    unpack,
)
from infomri_core.messages import DatasetCard, EnrolTask, ErrorReply, TrainReply, TrainTask, wire
from tests.support import standin
from tests.support.inprocess import Clock, InProcessGrid


def train_task(deadline: float, n: int = 5) -> TrainTask:
    return TrainTask("plan", 1, deadline, np.zeros((2, 2, 2)), {"arm": np.zeros(n, np.float32)})


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def grid() -> InProcessGrid:
    return InProcessGrid({node: partial(standin.handle, f"site{node}") for node in (2, 3, 10)})


def sites(grid: InProcessGrid, clock: Clock, **options: float) -> GridSites:
    return GridSites(grid, clock=clock, sleep=clock.sleep, **options)


def test_every_site_answers_once_whatever_the_job(grid: InProcessGrid, clock: Clock) -> None:
    federation_ = sites(grid, clock)
    assert federation_.online() == ["2", "3", "10"]
    cards = dict(federation_.ask(EnrolTask("plan", clock() + 60), ["2", "10"]))
    assert {node: card.site for node, card in cards.items()} == {"2": "site2", "10": "site10"}
    replies = dict(federation_.ask(train_task(clock() + 60), federation_.online()))
    assert set(replies) == {"2", "3", "10"}
    for reply in replies.values():
        np.testing.assert_array_equal(reply.arms["arm"], np.ones(5, np.float32))


def test_a_flower_error_is_answered_by_sending_again(grid: InProcessGrid, clock: Clock) -> None:
    grid.nodes[3].fail = 2
    replies = dict(sites(grid, clock).ask(train_task(clock() + 600), ["2", "3"]))
    assert isinstance(replies["3"], TrainReply)
    assert grid.nodes[3].asked == 3


def test_a_site_that_comes_back_from_a_restart_is_asked_again(
    grid: InProcessGrid, clock: Clock
) -> None:
    grid.nodes[3].lose = 1
    started = clock()
    replies = sites(grid, clock).ask(train_task(clock() + 600), ["2", "3"])
    assert next(replies)[0] == "2"
    grid.nodes[3].activated += 1
    assert [node for node, _ in replies] == ["3"]
    assert clock() - started < 60


def test_a_lost_reply_is_asked_for_again_once_the_others_have_long_answered(
    grid: InProcessGrid, clock: Clock
) -> None:
    grid.nodes[3].lose = 1
    started = clock()
    replies = dict(sites(grid, clock, silence=30).ask(train_task(clock() + 600), ["2", "3"]))
    assert isinstance(replies["3"], TrainReply)
    assert 30 <= clock() - started < 60


def test_a_site_alone_is_given_half_its_time_before_it_is_asked_again(
    grid: InProcessGrid, clock: Clock
) -> None:
    grid.nodes[3].lose = 1
    started = clock()
    replies = dict(sites(grid, clock, silence=30).ask(train_task(clock() + 300), ["3"]))
    assert isinstance(replies["3"], TrainReply)
    assert 150 <= clock() - started < 160


def test_what_is_lost_twice_is_asked_for_a_third_time(grid: InProcessGrid, clock: Clock) -> None:
    grid.nodes[3].lose = 2
    replies = dict(sites(grid, clock).ask(train_task(clock() + 120), ["2", "3"]))
    assert isinstance(replies["3"], TrainReply)
    assert grid.nodes[3].asked == 3


def test_who_is_late_yields_nothing_and_holds_nobody_up(grid: InProcessGrid, clock: Clock) -> None:
    grid.nodes[3].online = False
    deadline = clock() + 100
    replies = list(sites(grid, clock).ask(train_task(deadline), ["2", "3"]))
    assert [node for node, _ in replies] == ["2"]
    assert deadline <= clock() <= deadline + GRACE_SECONDS + 2


def test_a_malformed_reply_arrives_as_an_error(grid: InProcessGrid, clock: Clock) -> None:
    grid.nodes[2].garble = 1
    grid.nodes[3].handle = lambda data: b"not a message"
    replies = dict(sites(grid, clock).ask(train_task(clock() + 60), ["2", "3"]))
    assert {node: reply.code for node, reply in replies.items()} == dict.fromkeys(
        ("2", "3"), "bad-message"
    )


def test_a_message_lives_no_longer_than_its_task(grid: InProcessGrid, clock: Clock) -> None:
    grid.nodes[2].online = False
    asking = sites(grid, clock).ask(EnrolTask("plan", clock() + 5), ["2"])
    assert list(asking) == []
    (message,) = grid._sent.values()
    assert message.metadata.ttl <= 5 + GRACE_SECONDS


def test_nothing_is_sent_after_the_deadline(grid: InProcessGrid, clock: Clock) -> None:
    assert list(sites(grid, clock).ask(train_task(clock() - 100), ["2"])) == []
    assert grid.nodes[2].asked == 0


def test_one_reply_is_pulled_at_a_time(grid: InProcessGrid, clock: Clock) -> None:
    replies = sites(grid, clock).ask(train_task(clock() + 60), ["2", "3", "10"])
    next(replies)
    assert [grid.nodes[n].asked for n in (2, 3, 10)] == [1, 0, 0]


class Counted(InProcessGrid):
    """Notes how many looks for a reply were taken between two sleeps."""

    def __init__(self, n: int) -> None:
        super().__init__({k: partial(standin.handle, f"site{k}") for k in range(2, 2 + n)})
        for node in self.nodes.values():
            node.online = False
        self.looks = [0]

    def sleep(self, clock: Clock, seconds: float) -> None:
        clock.sleep(seconds)
        self.looks.append(0)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.looks[-1] += 1
        return super().pull_messages(message_ids)


def test_while_no_one_answers_few_are_asked_and_a_reply_is_soon_found(clock: Clock) -> None:
    for n in (1, 2, 3, 8, 50):
        for answers in (2, 1 + n):
            counted = Counted(n)
            nodes = [str(k) for k in counted.nodes]
            federation_ = GridSites(counted, clock=clock, sleep=partial(counted.sleep, clock))
            asking = federation_.ask(train_task(clock() + 600), nodes)
            counted.nodes[answers].online = True
            assert next(asking)[0] == str(answers)
            assert len(counted.looks) <= 4
            assert all(looks == 1 + n // 4 for looks in counted.looks[:-1])


def test_where_one_has_answered_all_are_asked_at_once(clock: Clock) -> None:
    counted = Counted(8)
    for node in counted.nodes.values():
        node.online = True
    replies = GridSites(counted, clock=clock, sleep=partial(counted.sleep, clock)).ask(
        train_task(clock() + 60), [str(k) for k in counted.nodes]
    )
    assert len(dict(replies)) == 8
    assert counted.looks == [8]


@pytest.mark.parametrize("n", [1, SHORT_BYTES // 4])
def test_a_message_of_any_length_has_one_form_on_both_sides(n: int) -> None:
    reply = TrainReply(4, {"arm": np.arange(n, dtype=np.float32)})
    data = wire.encode(reply.to_message())
    assert (len(data) > SHORT_BYTES) == (n > 1)
    assert courier.unpack(pack(data)) == courier.unpack(courier.pack(data)) == data
    for received in (unpack(pack(data)), unpack(courier.pack(data))):
        assert wire.encode(received.to_message()) == data


def test_a_short_message_is_of_three_objects_and_each_is_a_request_on_every_leg() -> None:
    message = Message(pack(b"short"), 5, "train")
    assert len(get_all_nested_objects(message)) == 3


def test_flowers_grid_waits_shortly_for_objects_that_are_to_come() -> None:
    """The name that is replaced is the one which Flower's Grid uses, with the same arguments."""
    names = dict(vars(http_grid))
    hasten(names)
    assert "pull_objects" in http_grid.HttpGrid.pull_messages.__code__.co_names
    given = inspect.signature(http_grid.pull_objects).parameters
    for name, value in names["pull_objects"].keywords.items():
        assert value < given[name].default
    missing = [ObjectUnavailableError("a")] * 2

    def pull(name: str) -> bytes:
        if missing:
            raise missing.pop()
        return b"content"

    assert names["pull_objects"](["a"], pull) == {"a": b"content"}


def test_both_sides_speak_the_same_form() -> None:
    for reply in (ErrorReply("code", "sentence"), standin.answer("a", EnrolTask("p", 0.0))):
        data = wire.encode(reply.to_message())
        assert courier.unpack(pack(data)) == data
        assert unpack(courier.pack(data)) == reply
    assert isinstance(reply, DatasetCard)
