"""What a run leaves as files, as values: ``results.json`` and ``events.jsonl``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infomri_core.results.frontier import Row, from_json

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Rows and meta of a ``results.json``."""

    rows: tuple[Row, ...]
    meta: Mapping[str, Any]


def parse_results(data: bytes) -> Results | None:
    """The results in the bytes of a ``results.json``; None where they are of another form."""
    try:
        content = json.loads(data)
        return Results(tuple(map(from_json, content["rows"])), dict(content["meta"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def parse_events(data: bytes) -> list[Event]:
    """The whole lines of an ``events.jsonl``; one that a killed study left torn is skipped."""
    found: list[Event] = []
    for line in data.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and {"event", "time"} <= set(event):
            found.append(event)
    return found
