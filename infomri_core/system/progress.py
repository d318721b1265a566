"""Progress of a long step: a bar with time left on a terminal, one line a phase elsewhere."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol, final

from rich.console import Console

if TYPE_CHECKING:
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

    def __init__(self, console: Console, check: Callable[[], None] | None = None) -> None:
        """``check`` is called at every step, and may raise to end the work."""
        self._console = console
        self._check = check or (lambda: None)

    @contextmanager
    def phase(self, name: str, *, unit: str, total: int | None = None) -> Iterator[Step]:
        """A bar on a terminal; elsewhere one line when the phase is over."""
        done = 0

        def count(n: int = 1) -> None:
            nonlocal done
            done += n
            self._check()

        if not self._console.is_terminal:
            yield count
            self._console.print(f"{name}: {done} {unit.removesuffix('s') if done == 1 else unit}")
            return
        with _bar(self._console, unit) as bar:
            task = bar.add_task(name, total=total)

            def advance(n: int = 1) -> None:
                bar.advance(task, n)
                self._check()

            yield advance


def _bar(console: Console, unit: str) -> "Bar":
    from rich import progress

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn(unit),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
    )


def on_stderr(check: Callable[[], None] | None = None) -> ConsoleProgress:
    """Progress on stderr; ``check`` is called at every step."""
    return ConsoleProgress(Console(stderr=True), check)


@contextmanager
def heeding_ctrl_c() -> Iterator[Callable[[], None]]:
    """Ctrl-C raises ``KeyboardInterrupt`` at once, and again in the function that is given here.

    Python drops an exception that is raised while a generator is thrown away, as happens within
    decoders; a long step calls the function now and then, so that no Ctrl-C is lost.
    """
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
