"""The only door of the vault: length-framed bytes over a Unix socket, peer credentials checked.

A frame is its length as 8 big-endian bytes, then the data. This module knows nothing of what the
bytes mean and needs neither torch nor numpy, so both sides of the door can import it.
"""

import contextlib
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from infomri_core.errors import InputError, Refused

MAX_FRAME_BYTES = 2 * 2**30
MAX_PATH_BYTES = 107
_SO_PEERGROUPS = 59
_CHUNK = 2**20
_FRAME_SECONDS = 300.0
_POLL_SECONDS = 0.2

log = logging.getLogger(__name__)


def call(path: Path, data: bytes, timeout: float, limit: int = MAX_FRAME_BYTES) -> bytes:
    """Send one frame to the server at ``path`` and return its answer.

    Raises ``TimeoutError`` when the answer is not whole after ``timeout`` seconds, another
    ``OSError`` when nobody serves or the server hangs up, and ``Refused("too-large")`` when either
    frame is longer than ``limit`` bytes.
    """
    end = time.monotonic() + timeout
    with _address(path) as address, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(address)
        _send(connection, data, limit, end)
        answer = _receive(connection, limit, end)
    if answer is None:
        raise ConnectionResetError(f"{path}: the vault hung up without an answer")
    return answer


def alive(path: Path, timeout: float) -> bool:
    """Whether the server at ``path`` accepts, reads and echoes an empty frame in time."""
    try:
        return call(path, b"", timeout) == b""
    except (OSError, InputError, Refused):
        return False


def listening(path: Path) -> bool:
    """Whether somebody serves the socket at ``path`` now."""
    if not path.is_socket():
        return False
    with _address(path) as address, socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address) == 0


def serve(
    path: Path,
    handle: Callable[[bytes], bytes],
    stop: threading.Event,
    *,
    group: int | None = None,
    limit: int = MAX_FRAME_BYTES,
) -> None:
    """Answer every frame with ``handle(frame)`` until ``stop`` is set; one thread a connection.
    An empty frame is echoed. A socket file that somebody took away is made again.

    Only processes of this user may speak (socket mode 0600) or, with ``group`` (a gid), of that
    group too (0660). On ``stop`` no new frame is read, running answers are still sent, and the
    socket file is removed. Raises ``InputError`` when the path cannot be served safely.
    """
    _prepare_folder(path.parent, group)
    _remove_stale(path)
    threads: list[tuple[threading.Thread, socket.socket]] = []
    try:
        while not stop.is_set():
            with _address(path) as address, socket.socket(socket.AF_UNIX) as listener:
                _bind(listener, address, path, group)
                ours = path.stat().st_ino
                while not stop.is_set() and _is(path, ours):
                    threads = [entry for entry in threads if entry[0].is_alive()]
                    with contextlib.suppress(TimeoutError):
                        connection, _ = listener.accept()
                        thread = threading.Thread(
                            target=_converse, args=(connection, handle, stop, group, limit)
                        )
                        thread.start()
                        threads.append((thread, connection))
            if not stop.is_set():
                log.warning("the socket %s was taken away; it is made again", path)
                _prepare_folder(path.parent, group)
                _remove_stale(path)
    finally:
        path.unlink(missing_ok=True)
    for thread, _ in threads:
        thread.join()


def _converse(
    connection: socket.socket,
    handle: Callable[[bytes], bytes],
    stop: threading.Event,
    group: int | None,
    limit: int,
) -> None:
    with connection:
        try:
            if not _welcome(connection, group):
                log.warning("channel refused a peer: neither this user nor the configured group")
                return
            while _readable(connection, stop):
                frame = _receive(connection, limit, time.monotonic() + _FRAME_SECONDS)
                if frame is None:
                    return
                answer = handle(frame) if frame else b""
                _send(connection, answer, limit, time.monotonic() + _FRAME_SECONDS)
        except (OSError, Refused) as error:
            log.warning("channel closed a connection: %s", type(error).__name__)


def _is(path: Path, inode: int) -> bool:
    """Whether the file at ``path`` is still the one with that inode."""
    try:
        return path.stat().st_ino == inode
    except OSError:
        return False


def _readable(connection: socket.socket, stop: threading.Event) -> bool:
    """Wait for the next frame, looking at ``stop`` now and then."""
    connection.settimeout(_POLL_SECONDS)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            connection.recv(1, socket.MSG_PEEK)
            return True
    return False


def _welcome(connection: socket.socket, group: int | None) -> bool:
    """Whether the process at the other end is of this user or of ``group``."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, gid = struct.unpack("3i", credentials)
    if uid == os.geteuid():
        return True
    if group is None or gid == group:
        return group is not None
    packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    return group in struct.unpack(f"{len(packed) // 4}I", packed)


def _send(connection: socket.socket, data: bytes, limit: int, end: float) -> None:
    if len(data) > limit:
        raise Refused("too-large", f"the message is longer than {limit} bytes")
    connection.settimeout(_left(end))
    connection.sendall(len(data).to_bytes(8, "big"))
    view = memoryview(data)
    while view:
        connection.settimeout(_left(end))
        view = view[connection.send(view[:_CHUNK]) :]


def _receive(connection: socket.socket, limit: int, end: float) -> bytes | None:
    """The next frame, or None when the other side closed in order before one began."""
    head = _exactly(connection, 8, end)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    if size > limit:
        raise Refused("too-large", f"the message is longer than {limit} bytes")
    body = _exactly(connection, size, end)
    if body is None:
        raise ConnectionResetError("the other side closed inside a frame")
    return body


def _exactly(connection: socket.socket, size: int, end: float) -> bytes | None:
    """``size`` bytes; memory grows with what arrives, not with what was announced."""
    data = bytearray()
    while len(data) < size:
        connection.settimeout(_left(end))
        part = connection.recv(min(_CHUNK, size - len(data)))
        if not part and not data:
            return None
        if not part:
            raise ConnectionResetError("the other side closed inside a frame")
        data += part
    return bytes(data)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("no whole answer from the vault in time")
    return left


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
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


def _prepare_folder(folder: Path, group: int | None) -> None:
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


def _remove_stale(path: Path) -> None:
    """Remove the socket a killed server left; ``InputError`` when it is alive or no socket."""
    if not path.exists():
        return
    if not path.is_socket():
        raise InputError(str(path), "a socket or no file", "another file", "move it away")
    with _address(path) as address, socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except OSError:
            path.unlink(missing_ok=True)
            return
    remedy = "stop the running vault, or give this one its own [vault] socket"
    raise InputError(str(path), "a socket nobody serves", "a running vault", remedy)


def _bind(listener: socket.socket, address: str, path: Path, group: int | None) -> None:
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
    listener.settimeout(_POLL_SECONDS)
