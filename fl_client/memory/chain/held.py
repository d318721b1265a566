"""One process at a time has a ledger."""

import fcntl
import os
from pathlib import Path

from infomri_core.system.errors import InputError


class InUse(InputError):
    """A ledger that another process has: it may pass, as when that process is about to end."""


def held(path: Path) -> int:
    """A descriptor of the ledger at ``path``, which is created if missing, locked for this
    process. Raises ``InUse`` while another has it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        remedy = "stop the other vault, or give this one its own [vault] state"
        raise InUse(str(path), "a ledger of one vault", "one in use", remedy) from None
    return descriptor
