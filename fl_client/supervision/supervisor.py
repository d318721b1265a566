"""Keeps a site's processes running: starts them in order, restarts what dies, stops them all.

What may pass is tried again with growing pauses for as long as the site runs. A part whose fault
cannot pass by waiting (a wrong certificate, malformed data) is left alone, with a sentence that
says what to do; the process stays, and says how things stand in a file that ``status`` reads.
"""

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infomri_core.machine import processes

POLL_SECONDS = 0.2
QUICK_SECONDS = 20.0
MAX_BACKOFF_SECONDS = 60.0
REPEAT_SECONDS = 60.0

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fault:
    """Why a part ended, and what to do. ``final``: waiting does not change it."""

    sentence: str
    final: bool


def _unexplained(code: int, lines: Sequence[str]) -> Fault | None:
    return None


def _nothing(line: str) -> str | None:
    return None


def _well() -> str | None:
    return None


@dataclass(frozen=True)
class SiteProcess:
    """One process of a site.

    ``ready`` tells whether a part that needs this one may start; ``fault(exit code, log lines)``
    explains its end where it can; ``event(log line)`` gives what is worth telling of a line of
    its log; ``stuck`` says why a part that runs, and was ready, must be started again; ``begun``
    is called when it was started and when it is ready.
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
    begun: Callable[[], None] = lambda: None


class _Watched:
    """A part, its process, and how often it died young."""

    def __init__(self, part: SiteProcess) -> None:
        self.part = part
        self.process: subprocess.Popen | None = None
        self.was_ready = False
        self.ever_ready = False
        self.gave_up = ""
        self.why = ""
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
        self.part.begun()
        self.process = processes.start(self.part.command, self.part.log, self.part.environment)

    def due(self) -> bool:
        waits = self.process is None and not self.gave_up
        return waits and time.monotonic() >= self._start_at

    def died(self) -> int | None:
        """The exit code of a process that has just ended, else None."""
        return None if self.process is None else self.process.poll()

    def end(self) -> None:
        """End what is left of the process; a new one may start at once."""
        if self.process is not None:
            processes.stop(self.process)
        self.process = None

    def bury(self) -> float:
        """Note a death, or a start that failed; seconds until the next start, more each time it
        died young."""
        self.end()
        young = time.monotonic() - self._started < QUICK_SECONDS
        self._strikes = min(self._strikes + 1, 10) if young else 1
        backoff = min(MAX_BACKOFF_SECONDS, 0.5 * 3 ** (self._strikes - 1))
        self._start_at = time.monotonic() + backoff
        return backoff

    @property
    def state(self) -> str:
        """How it stands, in words."""
        if self.gave_up:
            return f"gave up: {self.gave_up}"
        if self.process is None:
            return f"not running: {self.why}" if self.why else "not running"
        return "running" if self.was_ready or self.part.ready is None else "starting"

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
    """Runs ``parts`` until ``stop`` is set. Use the main thread.

    How each part stands goes to the file ``told`` whenever it changes. With ``exits`` a fault that
    cannot pass ends the run with code 1; otherwise the others run on, and so does this.
    """

    def __init__(
        self,
        parts: Sequence[SiteProcess],
        say: Say,
        stop: threading.Event,
        *,
        told: Path | None = None,
        exits: bool = False,
    ) -> None:
        self._watched = {part.name: _Watched(part) for part in parts}
        self._say = say
        self._stop = stop
        self._told, self._exits = told, exits
        self._state: dict[str, str] = {}
        self._said: dict[str, tuple[str, float]] = {}

    def run(self) -> int:
        """Exit code: 0 after ``stop``, 1 after a fault that cannot pass."""
        try:
            while not self._stop.is_set() and not (self._exits and self._gave_up()):
                for watched in self._watched.values():
                    self._look(watched)
                self._tell_state()
                self._stop.wait(POLL_SECONDS)
        finally:
            self._say("stopping")
            running = [w.process for w in self._watched.values() if w.process is not None]
            processes.stop_all(running[::-1])
            if self._told is not None:
                # A folder that has become read-only keeps the last state until the next start.
                with contextlib.suppress(OSError):
                    self._told.unlink(missing_ok=True)
            self._say("stopped")
        return int(self._gave_up())

    def _gave_up(self) -> bool:
        return any(watched.gave_up for watched in self._watched.values())

    def _look(self, watched: _Watched) -> None:
        part = watched.part
        code = watched.died()
        for event in watched.events():
            self._say(f"{part.name}: {event}")
        if code is not None:
            self._after_death(watched, code)
        elif watched.process is None:
            if watched.due() and self._may_start(part):
                self._start(watched)
        elif part.ready is not None and not watched.was_ready:
            if part.ready():
                watched.was_ready = watched.ever_ready = True
                part.begun()
                self._say(f"{part.name}: ready")
        elif (why := part.stuck()) is not None:
            self._say(f"{part.name}: {why}; starting it again")
            watched.end()

    def _start(self, watched: _Watched) -> None:
        part = watched.part
        try:
            watched.start()
        except OSError as error:
            backoff = watched.bury()
            why = f"cannot be started: {error.filename or part.log}: {error.strerror}"
            self._say_seldom(part, why, f"trying again in {backoff:g} s")
            return
        if part.name not in self._said:
            self._say(f"{part.name}: started")

    def _may_start(self, part: SiteProcess) -> bool:
        return part.needs is None or self._watched[part.needs].was_ready

    def _after_death(self, watched: _Watched, code: int) -> None:
        part = watched.part
        fault = part.fault(code, watched.lines)
        backoff = watched.bury()
        why = fault.sentence if fault else f"ended with code {code}{watched.last_words(code)}"
        watched.why = why
        if fault is not None and fault.final and not watched.ever_ready:
            watched.gave_up = why
            self._say(f"{part.name}: {why}; see {part.log}")
            if not self._exits:
                self._say(f"{part.name}: waiting does not change that; correct it and start again")
            return
        self._say_seldom(part, why, f"starting it again in {backoff:g} s")

    def _say_seldom(self, part: SiteProcess, why: str, what_next: str) -> None:
        """A reason again and again is said once a minute."""
        before, when = self._said.get(part.name, ("", -REPEAT_SECONDS))
        if why != before or time.monotonic() - when >= REPEAT_SECONDS:
            self._said[part.name] = (why, time.monotonic())
            self._say(f"{part.name}: {why}; {what_next}")

    def _tell_state(self) -> None:
        state = {name: watched.state for name, watched in self._watched.items()}
        if self._told is None or state == self._state:
            return
        try:
            self._told.write_text(json.dumps(state))
            self._state = state
        except OSError:
            # What cannot be written is said where it stops a part; this is only told again later.
            return
