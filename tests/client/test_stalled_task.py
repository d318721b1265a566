"""A task that nobody will answer is noticed, and a site at work is left alone."""

import pytest

from fl_client.network.stalled_task import GRACE_SECONDS, SILENCE_SECONDS, StalledTask

RECEIVED = "\x1b[92mINFO \x1b[0m:      Receiving: train message (ID: 1)"
SENDING = "INFO :      Sending: train message (ID: 2)"
STARTED = "2026-01-01 12:00:00,000 INFO courier 77 started"
SERVED = "2026-01-01 12:00:00,000 INFO courier 77 served its task"
DIED = "2026-01-01 12:00:00,000 WARNING a courier ended with status -9"
READY = "2026-01-01 12:00:00,000 INFO ready"


class Follow:
    """An ``StalledTask`` fed line by line at a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stalled = StalledTask(lambda: self.now)

    def read(self, *lines: str) -> "Follow":
        for line in lines:
            of_executor = "courier" in line or line is READY
            (self.stalled.executor if of_executor else self.stalled.supernode)(line)
        return self

    def after(self, seconds: float) -> str | None:
        self.now += seconds
        return self.stalled.verdict()


@pytest.fixture
def follow() -> Follow:
    return Follow()


def test_a_long_job_is_left_alone(follow: Follow) -> None:
    assert follow.read(RECEIVED, STARTED).after(10**6) is None


def test_a_slow_way_back_is_left_alone(follow: Follow) -> None:
    assert follow.read(RECEIVED, STARTED, SERVED, SENDING).after(10**6) is None


def test_who_waits_for_tasks_is_left_alone(follow: Follow) -> None:
    follow.read(RECEIVED, STARTED, SENDING, "INFO : Sent successfully", SERVED)
    assert follow.after(10**6) is None


def test_a_courier_that_dies_with_its_task_is_told_once(follow: Follow) -> None:
    follow.read(RECEIVED, STARTED, DIED)
    assert follow.after(GRACE_SECONDS / 2) is None
    assert follow.after(GRACE_SECONDS) == "the courier of its task is gone"
    assert follow.after(10**6) is None


def test_a_courier_that_dies_while_the_reply_is_handed_over_is_told(follow: Follow) -> None:
    follow.read(RECEIVED, STARTED, SENDING, DIED)
    assert follow.after(GRACE_SECONDS) is not None


def test_an_executor_that_dies_takes_its_couriers_along(follow: Follow) -> None:
    follow.read(RECEIVED, STARTED, READY)
    assert follow.after(GRACE_SECONDS) == "the courier of its task is gone"


def test_a_task_that_nobody_takes_is_told(follow: Follow) -> None:
    follow.read(RECEIVED)
    assert follow.after(SILENCE_SECONDS - 1) is None
    assert "no process has taken its task" in str(follow.after(1))


def test_a_lost_network_is_no_reason(follow: Follow) -> None:
    follow.read(RECEIVED)
    follow.now += SILENCE_SECONDS - 1
    follow.read("WARNING : Connection attempt failed, retrying in 8.00 seconds")
    assert follow.after(SILENCE_SECONDS - 1) is None


@pytest.mark.parametrize(
    "line",
    [
        "INFO : Starting Flower SuperNode",
        "ERROR : Failed to send message 2: gone",
        "ERROR : Failed to receive message 1: gone",
        "INFO : Run ID 3 is not in `RUNNING` status. Ignoring message 1.",
        "INFO : Run ID 3 is not in `RUNNING` status. Ignoring reply message 2.",
    ],
)
def test_a_task_that_is_over_is_not_waited_for(follow: Follow, line: str) -> None:
    assert follow.read(RECEIVED, line, DIED).after(10**6) is None


def test_a_death_before_the_next_task_is_forgotten(follow: Follow) -> None:
    follow.read(RECEIVED, STARTED, SENDING, "INFO : Sent successfully", DIED, RECEIVED, STARTED)
    assert follow.after(10**6) is None
    assert follow.read(SERVED).after(GRACE_SECONDS) is None
