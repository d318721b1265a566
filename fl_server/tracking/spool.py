"""Records that could not be delivered: kept in order in a JSONL file until they can be."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from infomri_core.system.files import append_line, write_atomically

logger = logging.getLogger(__name__)
Record = dict[str, Any]


@final
class Spool:
    """A queue in a file, one JSON object a line. Delivery is at least once, in order.

    Threads of one process may append while another one drains.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = threading.Lock()
        self._drain = threading.Lock()

    def append(self, record: Record) -> None:
        """Add a record at the end."""
        line = json.dumps(record, allow_nan=False)
        with self._file:
            append_line(self.path, line)

    def pending(self) -> list[Record]:
        """All records, oldest first. A line torn by a crash is skipped with a warning."""
        with self._file:
            lines = self._lines()
        return [record for line in lines if (record := self._parsed(line)) is not None]

    def drain(self, send: Callable[[Record], None]) -> int:
        """Send and remove records until none is left or one raises; that error is raised again.

        Returns how many were sent. A crash in between sends some of them twice.
        """
        n_sent = 0
        with self._drain:
            while True:
                with self._file:
                    lines = self._lines()
                if not lines:
                    return n_sent
                n_done = 0
                try:
                    for line in lines:
                        record = self._parsed(line)
                        if record is not None:
                            send(record)
                            n_sent += 1
                        n_done += 1
                finally:
                    self._drop(n_done)

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        return self.path.read_text(encoding="utf-8", errors="replace").splitlines()

    def _parsed(self, line: str) -> Record | None:
        try:
            return json.loads(line)
        except ValueError:
            logger.warning("%s: a torn line was skipped", self.path)
            return None

    def _drop(self, n_lines: int) -> None:
        """Remove lines from the front; what was appended meanwhile stays."""
        with self._file:
            kept = self._lines()[n_lines:]
            if kept:
                write_atomically(self.path, "".join(line + "\n" for line in kept).encode())
            else:
                self.path.unlink(missing_ok=True)
