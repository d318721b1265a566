"""A clock that the study centre would refuse is told in one sentence, and waited for."""

import logging
from pathlib import Path

import pytest

from fl_client.network.clocks import await_agreement
from fl_client.settings import read_settings
from fl_client.supervision.site_processes import site_processes
from fl_server.authority.certificates import SiteOptions, authority, site_kit


def said_until_agreed(caplog: pytest.LogCaptureFixture, *offsets: float | None) -> list[str]:
    left, slept = list(offsets), []
    with caplog.at_level(logging.ERROR, "infomri.supernode"):
        await_agreement("centre:8000", lambda: left.pop(0), slept.append)
    assert left == []
    assert len(slept) == len(caplog.messages)
    return caplog.messages


@pytest.mark.parametrize("offset", [None, 0.0, -300.0, 5.0])
def test_a_clock_that_is_admitted_is_not_spoken_of(
    caplog: pytest.LogCaptureFixture, offset: float | None
) -> None:
    assert said_until_agreed(caplog, offset) == []


def test_a_wrong_clock_is_told_until_it_is_right(caplog: pytest.LogCaptureFixture) -> None:
    ahead, behind = said_until_agreed(caplog, 3 * 3600 + 61.0, -400.0, 1.0)
    assert "3 h 1 min ahead of that of centre:8000" in ahead
    assert "7 min behind that of centre:8000" in behind


def test_the_sentence_reaches_the_operator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (sentence,) = said_until_agreed(caplog, 60.0, 0.0)
    options = SiteOptions("127.0.0.1:8000", "phantom:?seed=1")
    kit = site_kit(tmp_path / "kit", "north", authority(tmp_path / "ca"), options)
    parts = {part.name: part for part in site_processes(kit.settings, read_settings(kit.settings))}
    told = parts["supernode"].event(f"2026-01-01 12:00:00,000 ERROR {sentence}")
    assert told == sentence
