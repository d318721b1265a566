"""Progress of a long step: a bar with time left on a terminal, one line a phase elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

Step = Callable[..., None]


class Progress(Protocol):
    """Someone who is told how far a long step is."""

    def phase(
        self, name: str, *, unit: str, total: int | None = None
    ) -> AbstractContextManager[Step]:
        """A phase of ``total`` units (None: unknown); ``with`` gives a function ``step(n=1)``."""


@final
class ConsoleProgress:
    """Writes to a console, which should be that of stderr so that results stay alone."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def phase(self, name: str, *, unit: str, total: int | None = None) -> Iterator[Step]:
        """A bar on a terminal; elsewhere one line when the phase is over."""
        done = 0

        def count(n: int = 1) -> None:
            nonlocal done
            done += n

        if not self._console.is_terminal:
            yield count
            self._console.print(f"{name}: {done} {unit}")
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
        with Bar(
            *columns,
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        ) as bar:
            task = bar.add_task(name, total=total)
            yield lambda n=1: bar.advance(task, n)
