"""A clock that is set back while a question is asked, and right again: nothing grows old by it."""

import dataclasses
from datetime import UTC, datetime, timedelta

from fl_client.gate.pinned_counts import pinned_counts
from fl_client.memory.ledger import CHARGE, Entry, dated
from fl_client.policy.figures import drawn

NOW = datetime(2026, 11, 26, tzinfo=UTC)
ENTRY = Entry(run="p", job="evaluate", round=1, kind=CHARGE, n_bytes=0, sha256="")


def at(days_ago: float, **changes: object) -> Entry:
    time = (NOW - timedelta(days=days_ago)).isoformat()
    return dataclasses.replace(ENTRY, time=time, **changes)  # type: ignore[arg-type]


def figures(days_ago: float, number: int, n: int = 10) -> Entry:
    return at(days_ago, input=str(number), charge={"inputs": 1, "figures": n})


def test_figures_drawn_under_a_clock_set_back_are_counted_once_it_is_right() -> None:
    """Under the false date they filled a year of their own, and were forgotten after it."""
    entries = [figures(2, 0), figures(3000, 1, 500), figures(1, 2)]
    assert drawn(entries, 365.0, NOW) == 520
    assert drawn([figures(3000, 1, 500), figures(1, 2)], 365.0, NOW) == 10, "what is old is old"


def test_counts_that_left_under_a_clock_set_back_stay_frozen() -> None:
    """Otherwise two cards, before and after a patient came, leave within one period."""
    card = {"patients": 40}
    entries = [figures(2, 0), at(3000, kind="card", counts=card)]
    assert pinned_counts(entries, {"patients"}, 30.0, NOW) == card
    assert pinned_counts(entries[1:], {"patients"}, 30.0, NOW) == {}


def test_times_of_a_chain_never_go_back() -> None:
    entries = [at(5), at(9), Entry(run="", job="", round=0, kind="", n_bytes=0, sha256=""), at(1)]
    ages = [(NOW - time).days for _, time in dated(entries)]
    assert ages == [5, 5, 5, 1]
