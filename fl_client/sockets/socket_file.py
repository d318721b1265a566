"""The file of a Unix socket: its folder, its address however long the path, and who may speak."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from infomri_core.system.errors import InputError

MAX_PATH_BYTES = 107
POLL_SECONDS = 0.2


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """What to bind or connect to: long paths go through a descriptor of their folder."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    short = len(os.fsencode(path.name)) <= MAX_PATH_BYTES - len("/proc/self/fd/1234567890/")
    if not short or not Path("/proc/self/fd").is_dir():
        got = f"{len(os.fsencode(path))} bytes"
        remedy = "set [vault] socket in site.toml to a shorter path"
        raise InputError(str(path), f"a socket path up to {MAX_PATH_BYTES} bytes", got, remedy)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def prepare_folder(folder: Path, group: int | None) -> None:
    """Make ``folder`` for a socket, or check it; ``InputError`` where others can write to it."""
    try:
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700)
            if group is not None:
                os.chown(folder, -1, group)
                folder.chmod(0o750)
        status = folder.stat()
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(folder), "a folder for the socket", got, "check [vault]") from None
    foreign = status.st_uid not in (os.geteuid(), 0)
    if foreign or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX):
        got = f"owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
        remedy = f"chmod 700 {folder}, or set [vault] socket to a folder of its own"
        raise InputError(str(folder), "a folder that only this user can write to", got, remedy)


def remove_stale(path: Path) -> None:
    """Remove the socket a killed server left; ``InputError`` when it is alive or no socket."""
    if not path.exists():
        return
    if not path.is_socket():
        raise InputError(str(path), "a socket or no file", "another file", "move it away")
    with address_of(path) as address, socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except OSError:
            path.unlink(missing_ok=True)
            return
    remedy = "stop the running vault, or give this one its own [vault] socket"
    raise InputError(str(path), "a socket that no process serves", "a running vault", remedy)


def bind(listener: socket.socket, address: str, path: Path, group: int | None) -> None:
    """Listen at ``address`` (mode 0600, or 0660 for ``group``). Raises ``InputError``."""
    before = os.umask(0o177)
    try:
        listener.bind(address)
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), "a path to listen at", got, "check [vault] socket") from None
    finally:
        os.umask(before)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o660)
    listener.listen(16)
    listener.settimeout(POLL_SECONDS)
