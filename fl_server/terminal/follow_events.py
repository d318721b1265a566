"""Following the events of a study that runs on this machine."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self, final

from rich.console import Console

from fl_server.run.events import read_events
from fl_server.terminal.screen import Screen

POLL_SECONDS = 0.5


@final
class Follower:
    """Shows events of ``events.jsonl`` as they are written; use as a context manager.

    What stood there before, as of a run that is resumed, is not reported again.
    """

    def __init__(self, path: Path, console: Console) -> None:
        self._path = path
        self._screen = Screen(console)
        self._offset = path.stat().st_size if path.exists() else 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._screen.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._poll()
        self._screen.__exit__(kind, error, trace)

    def _work(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self._poll()

    def _poll(self) -> None:
        events, self._offset = read_events(self._path, self._offset)
        for event in events:
            self._screen.show(event)
