"""Following a submitted run until it ends, across lost connections."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from fl_server.operations.control import Control, RunState
from fl_server.run.events import event_in
from fl_server.run.folder import find_run
from fl_server.settings import read_settings
from fl_server.study.failure import StudyFailed
from fl_server.terminal.screen import Screen, duration
from infomri_core.machine.hints import shell_command
from infomri_core.results.frontier import Row, from_json
from infomri_core.system.errors import InputError

RETRY_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
_LOUD = ("WARNING", "ERROR", "CRITICAL", "Traceback")


@final
class LogReader:
    """Takes a run's log in pieces; shows its events, and other lines that are worth it."""

    def __init__(self, screen: Screen, verbose: bool = False) -> None:
        self._screen = screen
        self._verbose = verbose
        self._rest = ""
        self._seen: set[str] = set()

    def feed(self, piece: str) -> None:
        """Take in what the log said next; lines may be torn between pieces."""
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        event = event_in(line)
        if event is None:
            if self._verbose or any(word in line for word in _LOUD):
                self._screen.say(line.rstrip(), "dim")
        elif line not in self._seen:
            # After a reconnection the log may repeat its last piece.
            self._seen.add(line)
            self._screen.show(event)


def follow(
    control: Control,
    run_id: str,
    screen: Screen,
    *,
    verbose: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Row]:
    """Show a run on ``screen`` until it ends; the rows of its frontier when it completed.

    Raises ``StudyFailed`` otherwise. A SuperLink that is gone is reported, and again when it is
    back; gone for longer than two minutes it ends the wait, not the run.
    """
    reader, seen, lost_since = LogReader(screen, verbose), 0.0, None
    while True:
        try:
            for piece, latest in control.log(run_id, seen):
                seen = latest
                reader.feed(piece)
            state = control.state(run_id)
        except InputError as error:
            now = clock()
            if lost_since is None:
                lost_since = now
                screen.say(f"{_LOST} ({error.got})", "yellow")
            if now - lost_since > PATIENCE_SECONDS:
                raise StudyFailed(
                    f"{error}. The run may still continue: `{shell_command('infomri', 'status')}` "
                    f"shows its state, `{shell_command('infomri', 'follow', run_id)}` shows it"
                ) from None
        else:
            if lost_since is not None:
                screen.say(
                    f"the SuperLink is back after {duration(clock() - lost_since)}", "green"
                )
                lost_since = None
            if state.finished:
                break
        sleep(RETRY_SECONDS)
    _refuse_failure(screen.run, state)
    return [from_json(row) for row in screen.rows]


def refusals(control: Control, state: RunState) -> list[str]:
    """What a run's log says so far of sites that refused and of replies that were not used, oldest
    first, each once; empty for a run that has not begun."""
    events = _events(control, state)
    said = [str(event["sentence"]) for event in events if event["event"] == "refused"]
    return list(dict.fromkeys(said))


def site_versions(control: Control, state: RunState) -> dict[str, str]:
    """By site, the versions that it enrolled with in a run, such as ``infomri 0.1.0, torch 2``."""
    return {
        str(event["site"]): ", ".join(f"{name} {v}" for name, v in event["versions"].items())
        for event in _events(control, state)
        if event["event"] == "enrolled" and isinstance(event.get("versions"), dict)
    }


def _events(control: Control, state: RunState) -> list[dict[str, Any]]:
    if state.status in ("pending", "starting"):
        return []
    # The first piece holds all of the log until now; the next would wait for more.
    piece, _ = next(control.log(state.run_id), ("", 0.0))
    return [event for line in piece.split("\n") if (event := event_in(line)) is not None]


_LOST = f"the SuperLink does not answer; asking again for {duration(PATIENCE_SECONDS)}"


def check_resume(control: Control, resume: str, centre: Path | None = None) -> None:
    """Raise ``InputError`` unless ``resume`` names a run that has ended and can go on.

    It is looked for among the checkpoints of ``centre``, the path of centre.toml, or, without
    one, among the runs that the SuperLink knows.
    """
    states = {state.run_id: state for state in control.runs()}
    if centre is not None:
        name = find_run(read_settings(centre), resume)
    else:
        name = resume
        if _number_in(name) not in states:
            known = ", ".join(list(states)[:10]) or "none"
            remedy = f"it knows: {known}; with --centre centre.toml its checkpoints are asked"
            raise InputError("--resume", "a run of this SuperLink", f"'{resume}'", remedy)
    state = states.get(_number_in(name))
    if state is not None and not state.finished:
        number = state.run_id
        remedy = f"`{shell_command('infomri', 'follow', number)}` shows it, "
        remedy += f"`{shell_command('infomri', 'stop', number)}` ends it"
        raise InputError("--resume", "a run that has ended", f"one that is {state.status}", remedy)


def _number_in(name: str) -> str:
    """The run's number at the end of its name, as in knee-123."""
    return name.rpartition("-")[2]


def _refuse_failure(run: str, state: RunState) -> None:
    """``run``: the name that the study reported once it had a checkpoint; '' where it had none."""
    if state.outcome == "completed":
        return
    why = state.details or ("`infomri stop`" if state.outcome == "stopped" else "see above")
    remedy = "it has no checkpoint yet: submit its plan again"
    if run:
        command = shell_command("infomri", "run", "--resume", run)
        remedy = f"`{command}` continues it from its last checkpoint"
    raise StudyFailed(f"run {state.run_id} {state.outcome}: {why}. {remedy}")
