"""The only door of the vault: length-framed bytes over a Unix socket, peer credentials checked.

A frame is its length as 8 big-endian bytes, then the data. This module knows nothing of what the
bytes mean and needs neither torch nor numpy, so both sides of the door can import it.
"""

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fl_client.sockets.socket_file import address_of, bind, prepare_folder, remove_stale
from infomri_core.system.errors import InputError, Refused

MAX_FRAME_BYTES = 2 * 2**30
_SO_PEERGROUPS = 59
MAX_CONNECTIONS = 16
SMALL_FRAME_BYTES = 2**20
_CHUNK = 2**20
_FRAME_SECONDS = 300.0
_POLL_SECONDS = 0.2

log = logging.getLogger(__name__)


def call(path: Path, data: bytes, timeout: float, limit: int = MAX_FRAME_BYTES) -> bytes:
    """Send one frame to the server at ``path`` and return its answer.

    Raises ``TimeoutError`` when the answer is not whole after ``timeout`` seconds, another
    ``OSError`` when no one serves or the server hangs up, and ``Refused("too-large")`` when either
    frame is longer than ``limit`` bytes.
    """
    end = time.monotonic() + timeout
    with address_of(path) as address, socket.socket(socket.AF_UNIX) as connection:
        _connect(connection, address, end)
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


def _connect(connection: socket.socket, address: str, end: float) -> None:
    """Connect; where too many wait at the door already, knock again until ``end``."""
    while True:
        connection.settimeout(_left(end))
        try:
            connection.connect(address)
            return
        except BlockingIOError:
            time.sleep(min(_POLL_SECONDS, _left(end)))


def listening(path: Path) -> bool:
    """Whether somebody serves the socket at ``path`` now."""
    if not path.is_socket():
        return False
    with address_of(path) as address, socket.socket(socket.AF_UNIX) as probe:
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

    At most ``MAX_CONNECTIONS`` are open, later ones wait; of frames above ``SMALL_FRAME_BYTES``
    one at a time is received and answered. So anyone who calls holds no more of this process's
    memory than one frame of ``limit`` bytes and a few small ones.

    Only processes of this user may speak (socket mode 0600) or, with ``group`` (a gid), of that
    group too (0660). On ``stop`` no new frame is read, running answers are still sent, and the
    socket file is removed. Raises ``InputError`` when the path cannot be served safely.
    """
    prepare_folder(path.parent, group)
    remove_stale(path)
    threads: list[tuple[threading.Thread, socket.socket]] = []
    large = threading.Lock()

    def open_one(listener: socket.socket) -> None:
        """Let the next caller in, once one of ``MAX_CONNECTIONS`` places is free."""
        threads[:] = [entry for entry in threads if entry[0].is_alive()]
        if len(threads) >= MAX_CONNECTIONS:
            stop.wait(_POLL_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            connection, _ = listener.accept()
            thread = threading.Thread(
                target=_converse, args=(connection, handle, stop, group, limit, large)
            )
            thread.start()
            threads.append((thread, connection))

    try:
        while not stop.is_set():
            with address_of(path) as address, socket.socket(socket.AF_UNIX) as listener:
                bind(listener, address, path, group)
                ours = path.stat().st_ino
                while not stop.is_set() and _is(path, ours):
                    open_one(listener)
            if not stop.is_set():
                log.warning("the socket %s was taken away; it is made again", path)
                prepare_folder(path.parent, group)
                remove_stale(path)
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
    large: threading.Lock,
) -> None:
    with connection:
        try:
            if not _welcome(connection, group):
                log.warning("channel refused a peer: neither this user nor the configured group")
                return
            while _readable(connection, stop):
                size = _announced(connection, limit, time.monotonic() + _FRAME_SECONDS)
                if size is None:
                    return
                with large if size > SMALL_FRAME_BYTES else contextlib.nullcontext():
                    end = time.monotonic() + _FRAME_SECONDS
                    frame = _body(connection, size, end)
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
    size = _announced(connection, limit, end)
    return None if size is None else _body(connection, size, end)


def _announced(connection: socket.socket, limit: int, end: float) -> int | None:
    """The length of the next frame, None as for :func:`_receive`."""
    head = _exactly(connection, 8, end)
    if head is None:
        return None
    size = int.from_bytes(head, "big")
    if size > limit:
        raise Refused("too-large", f"the message is longer than {limit} bytes")
    return size


def _body(connection: socket.socket, size: int, end: float) -> bytes:
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
