"""TCP ports: one that is free, and whether one is."""

import os
import socket
from collections.abc import Mapping

from infomri_core.system.errors import InputError

_LOCAL = ("127.0.0.1", "localhost")


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port no one listens at now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int, remedy: str = "choose another port") -> None:
    """Raise ``InputError`` when ``port`` of ``host`` cannot be listened at."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            got = error.strerror or type(error).__name__
            remedy = f"stop what listens there, or {remedy}"
            raise InputError(f"{host}:{port}", "a free port", got, remedy) from None


def host_and_port(text: str, where: str) -> tuple[str, int]:
    """``HOST:PORT``, or ``PORT`` of loopback. Raises ``InputError``."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InputError(where, "PORT or HOST:PORT", repr(text), "correct it")
    return host or "127.0.0.1", int(port)


def without_local_proxy(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that keep HTTP clients from sending loopback traffic to a proxy."""
    known = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    hosts = ",".join([*filter(None, known.split(",")), *_LOCAL])
    return {"NO_PROXY": hosts, "no_proxy": hosts}
