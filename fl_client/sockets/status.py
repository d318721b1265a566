"""Asking a vault how it is and what has left it. No data is touched, no patient named.

What a ledger adds up to, the epsilon of all studies with it, is for the site's own tools. They ask
at a second socket and show the token that the vault wrote beside it when it started. The courier
and the SuperNode cannot read it: Landlock keeps files from them, though not sockets.
"""

import contextlib
import dataclasses
import hmac
import math
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fl_client.memory.chain.lines import CHARGE, RECOVERED, Entry
from fl_client.settings import Vault
from fl_client.sockets import channel
from fl_client.sockets.socket_file import prepare_folder
from infomri_core.messages import wire
from infomri_core.system.errors import Refused

PING, PONG = wire.Message("ping"), wire.Message("pong")
"""Whether a vault lives: all that its main socket says of itself."""
MAX_STATUS_BYTES = 2**16


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
    """A living vault: its site's name, whether it is computing, what has left it, and whether its
    ledger is as the vault left it."""

    site: str
    busy: bool
    tally: Tally = field(default_factory=Tally)
    sound: bool = True

    def to_message(self) -> wire.Message:
        """The answer to who has the token."""
        return wire.Message("vault-status", dataclasses.asdict(self))


def tally(entries: Iterable[Entry]) -> Tally:
    """Sums over a ledger's entries."""
    kept = [entry for entry in entries if entry.kind not in ("torn", RECOVERED)]
    left = [entry for entry in kept if entry.kind != CHARGE]
    spent = [e.privacy["epsilon"] for e in kept if e.privacy and not e.repetition]
    epsilon = spent[-1] if spent else 0.0
    return Tally(
        replies=dict(Counter(e.job for e in left if e.kind != "error")),
        refusals=dict(Counter(e.note for e in left if e.kind == "error")),
        n_bytes=sum(e.n_bytes for e in left),
        epsilon=None if epsilon is None else math.ceil(epsilon * 100) / 100,
        last=datetime.fromisoformat(left[-1].time).timestamp() if left else 0.0,
    )


def token_file(socket: Path) -> Path:
    """Where the token lies for those who may ask at ``socket``."""
    return socket.with_name("token")


@contextlib.contextmanager
def served(vault: Vault, status: Callable[[], VaultStatus]) -> Iterator[None]:
    """Answer at the vault's status socket from a thread of its own. Raises ``InputError``."""
    path, group, token = vault.status_path, vault.group_id, secrets.token_hex(32)
    prepare_folder(path.parent, group)
    _write_token(token_file(path), token, group)

    def handle(data: bytes) -> bytes:
        return wire.encode(_answer(data, token, status))

    stop = threading.Event()
    options = {"group": group, "limit": MAX_STATUS_BYTES}
    thread = threading.Thread(target=channel.serve, args=(path, handle, stop), kwargs=options)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def vault_status(socket: Path, timeout: float = 5.0) -> VaultStatus | None:
    """The status of the vault behind its status ``socket``, or None when none answers in time or
    this process may not ask."""
    try:
        question = wire.Message("status", {"token": token_file(socket).read_text("ascii")})
        message = wire.decode(channel.call(socket, wire.encode(question), timeout))
        header = message.header
        if message.kind != "vault-status":
            return None
        told = Tally(**header["tally"])
        return VaultStatus(str(header["site"]), bool(header["busy"]), told, bool(header["sound"]))
    except (OSError, Refused, KeyError, TypeError, ValueError):
        return None


def _answer(data: bytes, token: str, status: Callable[[], VaultStatus]) -> wire.Message:
    try:
        message = wire.decode(data)
        shown = str(message.header.get("token"))
    except Refused:
        return wire.Message("refused")
    known = message.kind == "status" and hmac.compare_digest(shown.encode(), token.encode())
    return status().to_message() if known else wire.Message("refused")


def _write_token(path: Path, token: str, group: int | None) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        if group is not None:
            os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, 0o640)
        stream.write(token)
