"""Records that could not be delivered: kept in order in a JSONL file until they can be."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from infomri_core.files import write_atomically

logger = logging.getLogger(__name__)
Record = dict[str, Any]


@final
class Spool:
    """A queue in a file, one JSON object a line. Delivery is at least once, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: Record) -> None:
        """Add a record at the end."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, allow_nan=False) + "\n")

    def pending(self) -> list[Record]:
        """All records, oldest first. A line torn by a crash is skipped with a warning."""
        if not self._path.exists():
            return []
        records = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                logger.warning("%s: a torn line was skipped", self._path)
        return records

    def drain(self, send: Callable[[Record], None]) -> int:
        """Send and remove records until the first that raises; that error is raised again.

        Returns how many were sent. A crash in between sends some of them twice.
        """
        records = self.pending()
        n_sent = 0
        try:
            for record in records:
                send(record)
                n_sent += 1
        finally:
            self._keep(records[n_sent:])
        return n_sent

    def _keep(self, records: list[Record]) -> None:
        if records:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            write_atomically(self._path, lines.encode())
        else:
            self._path.unlink(missing_ok=True)
