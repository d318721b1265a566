"""How long a site waits before it asks for a task again, and how its executor learns of one.

Flower's SuperNode sleeps 3 s after each empty answer, so that a phase of a study begins up to 3 s
late at its slowest site, whatever the phase computes. A pause in proportion to the time since the
last task costs a long phase no more than that share and a short one nearly nothing, and an idle
site asks as rarely as before. The executor looks at a file that the SuperNode rewrites when a task
is there: a look is no request, so it may be had often.
"""

import logging
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, final

LEAST_SECONDS = 0.1
MOST_SECONDS = 3.0
SHARE = 0.1
REPLY_SECONDS = 0.05
"""Between two looks of the SuperNode, into its own memory, for the reply."""
LOOK_SECONDS = 0.02
"""Between two looks of the executor at the bell."""
OBJECT_SECONDS = 0.05
MOST_OBJECT_SECONDS = 1.0
"""A message is announced before its objects (content, arrays) are there. The first pause before
one is asked for again, and the longest: it doubles. Flower's own are 1 s and 10 s."""

_log = logging.getLogger("infomri.supernode")


def bell_file(folder: Path) -> Path:
    """What the SuperNode rewrites when there is a task for the executor."""
    return folder / "flwr" / "bell"


@final
class Pauses:
    """Seconds between two questions to the SuperLink: ``SHARE`` of the time since :meth:`heard`
    was last called, within ``LEAST_SECONDS`` and ``MOST_SECONDS``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = -float("inf")

    def heard(self) -> None:
        """A task came, or its reply left, just now."""
        self._heard = self._clock()

    def seconds(self) -> float:
        """How long to wait now; the longest pause before the first task."""
        waited = self._clock() - self._heard
        return min(max(SHARE * waited, LEAST_SECONDS), MOST_SECONDS)


@final
class Poller:
    """The SuperNode's side: when it sleeps, and when it rings the ``bell``."""

    def __init__(
        self, bell: Path, pauses: Pauses, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._bell, self._pauses, self._sleep = bell, pauses, sleep
        self._tasks: Iterator[int] = count(1)

    def sleep(self, seconds: float) -> None:
        """In place of the main loop's ``time.sleep``: for 3 s where no task was there, for less
        where one is and its reply is not."""
        waiting = REPLY_SECONDS if seconds < MOST_SECONDS else self._pauses.seconds()
        self._sleep(min(seconds, waiting))

    def ringing(self, push: Callable[..., None]) -> Callable[..., None]:
        """The main loop's ``push``, which waits for the reply to a task that is wholly there, with
        a ring before it."""

        def ring_and_push(*args: Any, **named: Any) -> None:
            self._pauses.heard()
            try:
                self._bell.write_text(str(next(self._tasks)))
            except OSError as error:
                _log.warning("the executor is not notified of a task: %s", error.strerror)
            push(*args, **named)
            self._pauses.heard()

        return ring_and_push


@final
class Bell:
    """The executor's side. :meth:`wait` returns when the bell rang, or after ``at_most`` seconds:
    a ring may be lost with a SuperNode that dies."""

    def __init__(self, path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._path, self._sleep = path, sleep
        self._seen = self._look()

    def wait(self, at_most: float) -> None:
        """Wait for a ring since the last :meth:`wait`."""
        until = time.monotonic() + at_most
        while self._look() == self._seen and time.monotonic() < until:
            self._sleep(LOOK_SECONDS)
        self._seen = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
