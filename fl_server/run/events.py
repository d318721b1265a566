"""What a study is doing, for people and programs: log lines, and ``events.jsonl``."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from infomri_core.system.files import append_line

EVENTS_LOGGER = "infomri.events"
_MARK = "infomri-event "

logger = logging.getLogger("infomri")
# Events go to the log only where somebody reads them there: in a ServerApp.
_events = logging.getLogger(EVENTS_LOGGER)
_events.setLevel(logging.CRITICAL)


@final
class Progress:
    """Appends events of one run: JSON objects with ``time``, ``event`` and details."""

    def __init__(self, path: Path, guard: Callable[[], None] = lambda: None) -> None:
        """``guard`` is called before an event is reported, and may raise to prevent that."""
        self._path = path
        self._guard = guard
        path.parent.mkdir(parents=True, exist_ok=True)

    def report(self, event: str, sentence: str, **details: Any) -> None:
        """Log ``sentence`` and append the event; a full disk loses the event, not the study."""
        self._guard()
        logger.info(sentence)
        line = {"time": time.time(), "event": event, "sentence": sentence, **details}
        text = json.dumps(line)
        _events.info("%s%s", _MARK, text)
        try:
            append_line(self._path, text)
        except OSError as error:
            logger.warning("%s could not be written: %s", self._path, error)


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Whole events from byte ``offset`` on, and the offset to go on from. Torn lines, as a writer
    leaves that was killed, are skipped, and how many is logged."""
    if not path.exists():
        return [], offset
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    events = [event for line in lines if (event := _parsed(line)) is not None]
    if len(events) < len(lines):
        logger.warning("%s: %d torn lines were skipped", path, len(lines) - len(events))
    return events, offset + len(whole)


def event_in(line: str) -> dict[str, Any] | None:
    """The event that a line of a ServerApp's log holds, or None."""
    _, mark, text = line.partition(_MARK)
    if not mark:
        return None
    return _parsed(text)


def _parsed(line: str | bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(event, dict) and {"event", "sentence", "time"} <= event.keys()
    return event if whole else None
