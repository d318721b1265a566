"""A TCP relay between a site and the study centre: it falls silent, ends connections, is slow."""

import contextlib
import socket
import struct
import threading
import time

_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Passes bytes between who connects and a target. ``cut`` silences every connection without
    closing one, as a lost route does; ``heal`` lets the bytes flow again, at full speed."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._rate = float("inf")
        self._sockets: list[socket.socket] = []

    def start(self, target: str) -> str:
        """Listen on loopback and pass on to ``target`` (host:port); the address to dial."""
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, args=(listener, target), daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    def cut(self) -> None:
        """From now on nothing arrives anywhere."""
        self._open.clear()

    def heal(self) -> None:
        """What was held up arrives."""
        self._rate = float("inf")
        self._open.set()

    def slow(self, bytes_a_second: float) -> None:
        """From now on each connection passes no more than that."""
        self._rate = bytes_a_second

    def reset(self) -> None:
        """End every connection as a firewall does that has forgotten it."""
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _accept(self, listener: socket.socket, target: str) -> None:
        host, _, port = target.partition(":")
        while True:
            connection, _ = listener.accept()
            self._open.wait()
            try:
                onward = socket.create_connection((host, int(port)))
            except OSError:
                connection.close()
                continue
            self._sockets += [connection, onward]
            for source, sink in ((connection, onward), (onward, connection)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                self._open.wait()
                if self._rate < float("inf"):
                    time.sleep(len(data) / self._rate)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
