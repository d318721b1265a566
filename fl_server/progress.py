"""What a study is doing, for people and programs: log lines, and ``events.jsonl``."""

import json
import logging
import time
from pathlib import Path
from typing import Any, final

EVENTS_LOGGER = "infomri.events"
_MARK = "infomri-event "

logger = logging.getLogger("infomri")
# Events go to the log only where somebody reads them there: in a ServerApp.
_events = logging.getLogger(EVENTS_LOGGER)
_events.setLevel(logging.CRITICAL)


@final
class Progress:
    """Appends events of one run: JSON objects with ``time``, ``event`` and details."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def tell(self, event: str, sentence: str, **details: Any) -> None:
        """Log ``sentence`` and append the event; a full disk loses the event, not the study."""
        logger.info(sentence)
        line = {"time": time.time(), "event": event, "sentence": sentence, **details}
        text = json.dumps(line)
        _events.info("%s%s", _MARK, text)
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(text + "\n")
        except OSError as error:
            logger.warning("%s could not be written: %s", self._path, error)


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Whole events from byte ``offset`` on, and the offset to go on from."""
    if not path.exists():
        return [], offset
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    whole = data[: data.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


def event_in(line: str) -> dict[str, Any] | None:
    """The event that a line of a ServerApp's log holds, or None."""
    _, mark, text = line.partition(_MARK)
    if not mark:
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(event, dict) and {"event", "sentence", "time"} <= event.keys()
    return event if whole else None
