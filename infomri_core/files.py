"""Files that are either whole or not there."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a crash, sees the old file or the new one.

    The parent directory is made if need be; file and directory are flushed to the disk.
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
