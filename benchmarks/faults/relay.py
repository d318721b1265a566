"""A TCP relay that can fall silent: what a firewall that drops everything does to a site."""

import contextlib
import socket
import threading


class Relay:
    """Passes bytes between who connects and a target. ``cut`` silences every connection without
    closing one, as a lost route does; ``heal`` lets the bytes flow again."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

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
        self._open.set()

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
            for source, sink in ((connection, onward), (onward, connection)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
