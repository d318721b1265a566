"""Ctrl-C, SIGTERM and a terminal that closes unwind: what was started is stopped."""

import signal
from types import TracebackType
from typing import Self, final

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@final
class Interrupts:
    """Makes the signals raise ``KeyboardInterrupt`` once; use as a context manager.

    An exception raised by a signal is lost when it lands in a callback that cannot raise; so the
    wish is kept too, and :meth:`check` raises it again at the next safe place. A signal that was
    ignored at the start, as ``nohup`` does, stays ignored.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous = {
            number: signal.signal(number, self._ask)
            for number in NUMBERS
            if signal.getsignal(number) is not signal.SIG_IGN
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` when one was asked for."""
        if self._asked:
            raise KeyboardInterrupt

    def restore(self) -> None:
        """Give the signals back to their former owner."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self._asked:  # already unwinding: what was started must still be stopped
            return
        self._asked = True
        raise KeyboardInterrupt
