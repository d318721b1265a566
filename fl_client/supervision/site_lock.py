"""One ``infomri-client`` a state folder: a lock that dies with its process."""

import fcntl
import os
from pathlib import Path

from infomri_core.system.errors import InputError

NAME = "lock"


def lock_folder(folder: Path) -> int:
    """Hold ``folder`` until this process ends, before anything in it is touched; the descriptor.

    Raises ``InputError`` with the holder's process number while another client has it, and
    ``OSError`` where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 100, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        remedy = "stop the other, or give this one its own [vault] state or --folder"
        got = f"one held by another infomri-client, process {holder}"
        raise InputError(str(folder), "a folder of one client", got, remedy) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
