"""A supervisor that waits for nothing, and what it says."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_client.supervision import supervisor
from fl_client.supervision.supervisor import SiteProcess, Supervisor


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MAX_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "REPEAT_SECONDS", 0.0)


def part(folder: Path, name: str, script: str, **options: object) -> SiteProcess:
    return SiteProcess(name, ("/bin/sh", "-c", script), folder / f"{name}.log", **options)  # type: ignore[arg-type]


def supervise(
    *parts: SiteProcess,
    until: Callable[[list[str]], bool],
    exits: bool = False,
    told: Path | None = None,
) -> tuple[int, list[str]]:
    """Exit code and sentences; stopped once ``until`` holds for the sentences so far."""
    stop, said = threading.Event(), []

    def say(sentence: str) -> None:
        said.append(sentence)
        if until(said):
            stop.set()

    return Supervisor(parts, say, stop, exits=exits, told=told).run(), said
