"""One holder a run's folder: a lock that dies with its process, and an epoch.

The kernel lets go of the lock when the holder dies, however it dies. A holder that stands still
(a stopped process, a suspended machine, a file server that forgot the lock) keeps it but no longer
beats: the next one replaces the lock file and counts the epoch up. An old holder that comes back
finds another file there, and writes nothing more.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from infomri_core.system.errors import InputError
from infomri_core.system.files import sweep

NAME = "lock"
BEAT_SECONDS = 2.0
SILENCE_SECONDS = 20.0


class Overtaken(Exception):
    """Another process holds the run's folder now: this one must write nothing more."""


@final
class RunLock:
    """The folder of a run, held. Make one with :meth:`acquire`; use as a context manager, within
    which it beats."""

    def __init__(self, path: Path, descriptor: int, epoch: int) -> None:
        self.epoch = epoch
        self._path = path
        self._descriptor = descriptor
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._work, name="run lock", daemon=True)

    @classmethod
    def acquire(
        cls, directory: Path, who: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> "RunLock":
        """Hold ``directory`` as ``who``, and remove what killed writes left there.

        Raises ``InputError`` with the holder's name while it lives.
        """
        try:
            return cls._acquire(directory, who, sleep)
        except OSError as error:
            got = error.strerror or type(error).__name__
            remedy = "make room, or let this user write there, and resume"
            raise InputError(str(directory), "a folder to write to", got, remedy) from None

    @classmethod
    def _acquire(cls, directory: Path, who: str, sleep: Callable[[float], None]) -> "RunLock":
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / NAME
        descriptor = _locked(path)
        if descriptor is None:
            _await_silence(path, sleep)
            descriptor = _replaced(path)
        epoch = _read(path)["epoch"] + 1
        said = {
            "epoch": epoch,
            "holder": f"{who}, process {os.getpid()} of {socket.gethostname()}",
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(said).encode(), 0)
        sweep(directory)
        return cls(path, descriptor, epoch)

    def ours(self) -> bool:
        """Whether no one has taken the folder over."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

    def check(self) -> None:
        """Raise ``Overtaken`` unless the folder is still ours. Call it before every write."""
        if not self.ours():
            holder = _read(self._path)["holder"]
            raise Overtaken(
                f"{self._path.parent} is held by {holder} now; nothing more is written"
            )

    def beat(self) -> None:
        """Show that the holder lives."""
        os.utime(self._descriptor)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()
        os.close(self._descriptor)

    def _work(self) -> None:
        while not self._left.wait(BEAT_SECONDS):
            self.beat()


def _locked(path: Path) -> int | None:
    """A descriptor of the lock file, locked, or None while another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)


def _await_silence(path: Path, sleep: Callable[[float], None]) -> None:
    """Return when the lock's holder has not beaten for a while. No two clocks are compared."""
    first = path.stat()
    for _ in range(round(SILENCE_SECONDS / BEAT_SECONDS)):
        sleep(BEAT_SECONDS)
        now = path.stat()
        if (now.st_ino, now.st_mtime_ns) != (first.st_ino, first.st_mtime_ns):
            raise InputError(
                str(path.parent),
                "a run that no process works on",
                f"one held by {_read(path)['holder']}",
                "let it end, or stop it, and resume then",
            )


def _replaced(path: Path) -> int:
    """A lock file of our own in place of a silent holder's, locked."""
    fresh = path.with_name(f".{NAME}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.pwrite(descriptor, json.dumps(_read(path)).encode(), 0)
    fresh.replace(path)
    return descriptor


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
        return {"epoch": int(said["epoch"]), "holder": str(said["holder"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"epoch": 0, "holder": "a process that did not say its name"}
