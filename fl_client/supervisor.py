"""Keeps a site's processes running: starts them in order, restarts what dies, stops them all.

A fault that no restart can mend (a wrong certificate, an unknown key, missing data) ends the
supervision with a sentence that says what to do.
"""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infomri_core import processes

POLL_SECONDS = 0.2
QUICK_SECONDS = 20.0
MAX_STRIKES = 4
MAX_BACKOFF_SECONDS = 30.0

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fault:
    """Why a part ended, and what to do. ``final``: no restart can mend it. ``elsewhere``: others
    must mend it, so it is tried again without end."""

    sentence: str
    final: bool
    elsewhere: bool = False


def _unexplained(code: int, lines: Sequence[str]) -> Fault | None:
    return None


def _nothing(line: str) -> str | None:
    return None


def _well() -> str | None:
    return None


@dataclass(frozen=True)
class Part:
    """One process of a site.

    ``ready`` tells whether a part that needs this one may start; ``fault(exit code, log lines)``
    explains its end where it can; ``event(log line)`` gives what is worth telling of a line of
    its log; ``stuck`` says why a part that runs must be started again.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: str | None = None
    ready: Callable[[], bool] | None = None
    fault: Callable[[int, Sequence[str]], Fault | None] = _unexplained
    event: Callable[[str], str | None] = _nothing
    stuck: Callable[[], str | None] = _well


class _Watched:
    """A part, its process, and how often it died young."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process: subprocess.Popen | None = None
        self.was_ready = False
        self.lines: list[str] = []
        self._strikes = 0
        self._started = 0.0
        self._start_at = 0.0
        self._offset = part.log.stat().st_size if part.log.exists() else 0
        self._last_event: str | None = None

    def start(self) -> None:
        self.lines = []
        self.was_ready = False
        self._started = time.monotonic()
        self.process = processes.start(self.part.command, self.part.log, self.part.environment)

    def due(self) -> bool:
        return self.process is None and time.monotonic() >= self._start_at

    def died(self) -> int | None:
        """The exit code of a process that has just ended, else None."""
        return None if self.process is None else self.process.poll()

    def end(self) -> None:
        """End what is left of the process; a new one may start at once."""
        if self.process is not None:
            processes.stop(self.process)
        self.process = None

    def bury(self, *, patient: bool) -> float | None:
        """Note a death; seconds until the next start, or None when it died young too often, which
        a ``patient`` one never does."""
        self.end()
        young = time.monotonic() - self._started < QUICK_SECONDS
        self._strikes = self._strikes + 1 if young else 1
        if self._strikes >= MAX_STRIKES and not patient:
            return None
        backoff = min(MAX_BACKOFF_SECONDS, 0.5 * 3 ** (self._strikes - 1))
        self._start_at = time.monotonic() + backoff
        return backoff

    def last_words(self, code: int) -> str:
        """The last line of the log of a process that ended by itself, in brackets."""
        said = [line.strip() for line in self.lines if line.strip()]
        return f" ({said[-1]})" if code > 0 and said else ""

    def events(self) -> list[str]:
        """What the log says that is new and worth telling; a repetition is told once."""
        if not self.part.log.exists():
            return []
        with self.part.log.open("rb") as stream:
            stream.seek(self._offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        fresh = _COLOUR.sub("", whole.decode("utf-8", "replace")).splitlines()
        self.lines = (self.lines + fresh)[-50:]
        told = []
        for line in fresh:
            event = self.part.event(line)
            if event is not None and event != self._last_event:
                told.append(event)
                self._last_event = event
        return told


class Supervisor:
    """Runs ``parts`` until ``stop`` is set or one of them cannot go on. Use the main thread."""

    def __init__(self, parts: Sequence[Part], say: Say, stop: threading.Event) -> None:
        self._watched = {part.name: _Watched(part) for part in parts}
        self._say = say
        self._stop = stop

    def run(self) -> int:
        """Exit code: 0 after ``stop``, 1 after a fault."""
        code = 0
        try:
            while not self._stop.is_set() and code == 0:
                for watched in self._watched.values():
                    code = code or self._look(watched)
                self._stop.wait(POLL_SECONDS)
        finally:
            self._say("stopping")
            running = [w.process for w in self._watched.values() if w.process is not None]
            processes.stop_all(running[::-1])
            self._say("stopped")
        return code

    def _look(self, watched: _Watched) -> int:
        part = watched.part
        code = watched.died()
        for event in watched.events():
            self._say(f"{part.name}: {event}")
        if code is not None:
            return self._after_death(watched, code)
        if watched.process is not None and (why := part.stuck()) is not None:
            self._say(f"{part.name}: {why}; starting it again")
            watched.end()
        if watched.process is None:
            if watched.due() and self._may_start(part):
                watched.start()
                self._say(f"{part.name}: started")
        elif part.ready is not None and not watched.was_ready and part.ready():
            watched.was_ready = True
            self._say(f"{part.name}: ready")
        return 0

    def _may_start(self, part: Part) -> bool:
        return part.needs is None or self._watched[part.needs].was_ready

    def _after_death(self, watched: _Watched, code: int) -> int:
        part = watched.part
        fault = part.fault(code, watched.lines)
        backoff = watched.bury(patient=fault is not None and fault.elsewhere)
        why = fault.sentence if fault else f"ended with code {code}{watched.last_words(code)}"
        if backoff is None or (fault is not None and fault.final):
            self._say(f"{part.name}: {why}; see {part.log}")
            return 1
        self._say(f"{part.name}: {why}; starting it again in {backoff:g} s")
        return 0
