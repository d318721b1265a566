"""Watching a study from a terminal: a bar over its rounds and a line for each event."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fl_server.progress import read_events

_PHASES = {
    "waiting": "waiting for sites",
    "enrolled": "sites enrol",
    "start": "first round",
    "resume": "resuming",
    "round": "training",
    "audit": "fitting the attackers",
    "attack": "fitting the attackers",
    "evaluate": "sites score arms and attacks",
    "finished": "done",
}
_QUIET = frozenset({"answer", "silent", "failed"})
_STYLES = {"refused": "yellow", "dropped": "yellow", "finished": "bold green"}


@final
class Follower:
    """Prints new events of ``events.jsonl`` at each :meth:`poll`; use as a context manager.

    On a terminal a bar shows the phase and the rounds done; elsewhere one line an event.
    """

    def __init__(self, path: Path, console: Console) -> None:
        self._path = path
        self._console = console
        self._offset = 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:g}/{task.total:g} phases"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def poll(self) -> None:
        """Show what has happened since the last call."""
        events, self._offset = read_events(self._path, self._offset)
        for event in events:
            self._show(event)

    def _show(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind in _QUIET:
            return
        style = _STYLES.get(kind, "")
        self._console.print(f"  {escape(event['sentence'])}", style=style, highlight=False)
        self._bar.update(self._task, description=_PHASES.get(kind, kind))
        if "phases" in event:
            self._bar.update(self._task, total=event["phases"], completed=event["phase"])
