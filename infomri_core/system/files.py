"""Files that are either whole or not there."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from infomri_core.system.errors import InputError

_ROOM = 16 << 20
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG)


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees the old file or the new one.

    The parent directory is created if missing; file and directory are flushed to the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _flush_directory(path.parent)


def sweep(directory: Path) -> None:
    """Remove what writes that were killed left in ``directory`` and below. Call it only while no
    other process writes there."""
    for left in directory.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a line of text to ``path``, on a fresh line where a killed writer left a torn one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        torn = end > 0 and os.pread(stream.fileno(), 1, end - 1) != b"\n"
        stream.write((b"\n" if torn else b"") + line.encode() + b"\n")


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_output(path: Path, what: str = "a folder to write to", n_bytes: int = _ROOM) -> None:
    """Refuse, before any work, an output folder that cannot be made or written, or has no room.

    Nothing is left behind: what is tried is the nearest folder that is there. ``InputError``.
    """
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        if there != path.absolute():
            with tempfile.TemporaryDirectory(prefix=".infomri-", dir=there):
                pass
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), what, got, "choose another, or ask for the right") from None
    if free < n_bytes:
        got = f"{free / 2**20:.0f} MiB free"
        expected = f"{what} with {n_bytes / 2**20:.0f} MiB to spare"
        raise InputError(str(path), expected, got, "make room, or choose another disk")


@contextlib.contextmanager
def disk_errors_explained(path: Path, continues: str) -> Iterator[None]:
    """A disk that fills up, or a folder that becomes read-only, during the work becomes an
    ``InputError`` that says what is kept and how the work ``continues``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        got = error.strerror or type(error).__name__
        where = error.filename or path
        raise InputError(str(where), "room and rights to write", got, continues) from error
