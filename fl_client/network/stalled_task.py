"""Notices a task that no one will answer any more.

A SuperNode handles one message at a time and waits for its reply without limit. When the courier
that carried the message is gone, the site looks well and never answers again. After a restart
of the SuperNode the study centre sends the task again, and the vault answers a repetition from
its cache. What continues is read from the logs of SuperNode and executor.
"""

import re
import time
from collections.abc import Callable
from typing import final

GRACE_SECONDS = 3.0
SILENCE_SECONDS = 30.0

_RECEIVED = re.compile(r"Receiving: \S+ message")
_SENDING = re.compile(r"Sending: \S+ message")
_OVER = re.compile(
    r"Sent successfully|Failed to (send|receive) message|Failed to create task"
    r"|Ignoring (the |reply )?message|Starting Flower SuperNode"
)
_TROUBLE = re.compile(r"Connection attempt failed, retrying")
_STARTED = re.compile(r"courier \d+ started")
_SERVED = re.compile(r"courier \d+ served its task")
_DIED = re.compile(r"a courier ended with status")
_READY = re.compile(r"(INFO |\"message\": \")ready")


@final
class StalledTask:
    """Follows the one message that a SuperNode handles. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting = self._sending = self._lost = False
        self._couriers = 0
        self._since = 0.0

    def supernode(self, line: str) -> None:
        """Take in a line of the SuperNode's log."""
        if _RECEIVED.search(line):
            self._waiting, self._sending, self._lost = True, False, False
        elif _OVER.search(line):
            self._waiting = False
        elif _SENDING.search(line):
            self._sending = True
        elif not _TROUBLE.search(line):
            return
        self._since = self._clock()

    def executor(self, line: str) -> None:
        """Take in a line of the executor's log."""
        if _STARTED.search(line):
            self._couriers += 1
            return
        if _SERVED.search(line):
            self._couriers, self._lost = max(0, self._couriers - 1), False
        elif _DIED.search(line):
            self._couriers, self._lost = max(0, self._couriers - 1), True
        elif _READY.search(line):
            self._couriers, self._lost = 0, self._lost or self._couriers > 0
        else:
            return
        self._since = self._clock()

    def verdict(self) -> str | None:
        """Why the SuperNode must be started again, or None while all is well."""
        if not self._waiting or self._couriers:
            return None
        quiet = self._clock() - self._since
        if self._lost and quiet >= GRACE_SECONDS:
            self._waiting = False
            return "the courier of its task is gone"
        if not self._sending and quiet >= SILENCE_SECONDS:
            self._waiting = False
            return f"no process has taken its task for {SILENCE_SECONDS:g} s"
        return None
