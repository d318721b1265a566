"""Asking a vault whether it lives, for whoever watches it. No data is touched."""

from dataclasses import dataclass
from pathlib import Path

from fl_client import channel
from infomri_core import wire
from infomri_core.errors import Refused

PING = wire.Message("ping")


@dataclass(frozen=True)
class VaultStatus:
    """A living vault: its site's name, and whether it is computing."""

    site: str
    busy: bool

    def to_message(self) -> wire.Message:
        """The answer to a ping."""
        return wire.Message("pong", {"site": self.site, "busy": self.busy})


def vault_status(socket: Path, timeout: float = 5.0) -> VaultStatus | None:
    """The status of the vault behind ``socket``, or None when none answers in time."""
    try:
        message = wire.decode(channel.call(socket, wire.encode(PING), timeout))
    except (OSError, Refused):
        return None
    if message.kind != "pong":
        return None
    return VaultStatus(str(message.header.get("site")), bool(message.header.get("busy")))
