"""Log lines for a person, or, with ``INFOMRI_LOG=json`` in the environment, for a collector."""

import json
import logging
import os
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, final

STYLE = "INFOMRI_LOG"


@final
class JsonLines(logging.Formatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``part``, ``message``.

    Of an exception it says the type (``exception``) and the calls that led there (``at``), never
    the text: that may speak of a patient, and these lines are made to be collected elsewhere.
    """

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "part": self._part,
            "message": record.getMessage(),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            calls = traceback.extract_tb(error.__traceback__)
            line["exception"] = type(error).__name__
            line["at"] = [f"{Path(c.filename).name}:{c.lineno} {c.name}" for c in calls]
        return json.dumps(line)


def handler(stream: TextIO, part: str, text: str) -> logging.Handler:
    """Writes to ``stream`` in the form the environment asks for; ``text`` is the format of lines
    for a person."""
    made = logging.StreamHandler(stream)
    as_json = os.environ.get(STYLE) == "json"
    made.setFormatter(JsonLines(part) if as_json else logging.Formatter(text))
    return made


def message_of(line: str, mark: str) -> str:
    """What a log line says: the message of a JSON line, else what follows the last ``mark``."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line.rpartition(mark)[2].strip()
