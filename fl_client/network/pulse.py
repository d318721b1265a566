"""Whether a site lives from end to end: supervisor, courier's side, vault, and back.

The executor, which is what couriers are forked from, asks the vault for an echo through the
couriers' own door, and notes what came in a file. The supervisor reads the file: one that changes
no more means an executor that stands still, one that says so a vault that does not answer.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from fl_client.sockets import channel

EVERY_SECONDS = 5.0
ECHO_SECONDS = 5.0
PATIENCE_SECONDS = 45.0

_log = logging.getLogger("infomri.executor")


def pulse_file(folder: Path) -> Path:
    """Where the executor notes it; under the folder that it may write to."""
    return folder / "flwr" / "pulse"


@final
class Heart:
    """The executor's side: :meth:`beat` often; now and then it asks ``socket`` for an echo."""

    def __init__(
        self, path: Path, socket: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._socket, self._clock = path, socket, clock
        self._count, self._next = 0, 0.0

    def beat(self) -> None:
        """Note how the vault answered, if it is time to."""
        if self._clock() < self._next:
            return
        self._next, self._count = self._clock() + EVERY_SECONDS, self._count + 1
        said = {"count": self._count, "vault": channel.alive(self._socket, ECHO_SECONDS)}
        try:
            self._path.write_text(json.dumps(said))
        except OSError as error:
            _log.warning("the pulse cannot be noted: %s", error.strerror)


@final
class Pulse:
    """The supervisor's side: what each part is found to be. ``clock`` is monotonic, in seconds."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._seen: bytes | None = None
        self._moved = self._echoed = clock()

    def executor(self) -> str | None:
        """Why the executor must be started again, or None while all is well."""
        self._look()
        if self._clock() - self._moved < PATIENCE_SECONDS:
            return None
        self.reset()
        return f"has not moved for {PATIENCE_SECONDS:g} s"

    def vault(self) -> str | None:
        """Why the vault must be started again, or None while all is well."""
        self._look()
        if self._moved - self._echoed < PATIENCE_SECONDS:
            return None
        self.reset()
        return f"has given no echo for {PATIENCE_SECONDS:g} s"

    def reset(self) -> None:
        """Count from now on, as of a part that has just been started."""
        self._moved = self._echoed = self._clock()

    def _look(self) -> None:
        try:
            found = self._path.read_bytes()
            echo = bool(json.loads(found)["vault"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if found != self._seen:
            self._seen, self._moved = found, self._clock()
            if echo:
                self._echoed = self._moved
