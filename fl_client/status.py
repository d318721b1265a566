"""Asking a vault whether it lives and what has left it. No data is touched, no patient named."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fl_client import channel
from fl_client.ledger import Entry
from infomri_core import wire
from infomri_core.errors import Refused

PING = wire.Message("ping")


@dataclass(frozen=True)
class Tally:
    """What a ledger adds up to: replies by job, refusals by code, ``n_bytes`` of all that left,
    ``epsilon`` of all studies together, rounded up to two decimals (None: no finite one), and
    when the last departure was (Unix time; 0: never)."""

    replies: Mapping[str, int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    n_bytes: int = 0
    epsilon: float | None = 0.0
    last: float = 0.0


@dataclass(frozen=True)
class VaultStatus:
    """A living vault: its site's name, whether it is computing, and what has left it."""

    site: str
    busy: bool
    tally: Tally = field(default_factory=Tally)

    def to_message(self) -> wire.Message:
        """The answer to a ping."""
        return wire.Message("pong", dataclasses.asdict(self))


def tally(entries: Iterable[Entry]) -> Tally:
    """Sums over a ledger's entries."""
    left = [entry for entry in entries if entry.kind != "torn"]
    spent = [e.privacy["epsilon"] for e in left if e.privacy and not e.repetition]
    epsilon = spent[-1] if spent else 0.0
    return Tally(
        replies=dict(Counter(e.job for e in left if e.kind != "error")),
        refusals=dict(Counter(e.note for e in left if e.kind == "error")),
        n_bytes=sum(e.n_bytes for e in left),
        epsilon=None if epsilon is None else math.ceil(epsilon * 100) / 100,
        last=datetime.fromisoformat(left[-1].time).timestamp() if left else 0.0,
    )


def vault_status(socket: Path, timeout: float = 5.0) -> VaultStatus | None:
    """The status of the vault behind ``socket``, or None when none answers in time."""
    try:
        message = wire.decode(channel.call(socket, wire.encode(PING), timeout))
        header = message.header
        if message.kind != "pong":
            return None
        return VaultStatus(str(header["site"]), bool(header["busy"]), Tally(**header["tally"]))
    except (OSError, Refused, KeyError, TypeError):
        return None
