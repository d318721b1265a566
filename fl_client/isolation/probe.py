"""Which isolation holds on this machine, tried in child processes rather than assumed."""

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fl_client.isolation import confine
from fl_client.isolation.confine import Confinement, courier_keeps, supernode_keeps
from fl_client.settings import SiteSettings
from fl_client.sockets.status import token_file

_CLOSED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class ProbeResult:
    """One promise of the kernel's: whether it was seen to hold, in a sentence."""

    holds: bool
    sentence: str


def survey(settings: SiteSettings, folder: Path, *, with_vault: bool = True) -> list[ProbeResult]:
    """Try what each process will do, in children of this one; who calls it has one thread."""
    private = private_paths(settings)
    holds = [_probe_vault()] if with_vault else []
    courier = courier_keeps(folder, settings.vault.socket_path)
    supernode = supernode_keeps(settings.superlink, folder)
    holds.append(_probe_data("the courier", courier, private))
    return [*holds, _probe_data("the SuperNode", supernode, private)]


def private_paths(settings: SiteSettings) -> list[Path]:
    """What no one but the vault may open: the data of every data set, the ledger, the site's keys;
    nor the token of the status socket, but for who asks there."""
    uris = [data.uri for data in (settings.data, *settings.datasets.values())]
    locations = [uri.partition(":")[2].partition("?")[0] for uri in uris]
    state = settings.vault.state
    paths = [Path(location) for location in dict.fromkeys(locations) if location]
    signing = [settings.secure.key] if settings.secure.key else []
    token = token_file(settings.vault.status_path)
    return [*paths, state / "ledger.jsonl", state / "site.key", *signing, token, state]


def _probe_vault() -> ProbeResult:
    def attempt() -> bool:
        confine.drop_network()
        try:
            socket.socket(socket.AF_INET).close()
        except PermissionError:
            return True
        return False

    return _tried("the vault has no network", attempt)


def _probe_data(name: str, keep: Confinement, private: list[Path]) -> ProbeResult:
    what = f"{name} cannot open data, ledger and site key"
    covered = [str(path) for path in private if keep.covers(path)]
    if covered:
        return ProbeResult(False, f"{what}: no, {covered[0]} lies in a folder that it needs")

    def attempt() -> bool:
        confine.confine(keep)
        return not any(_opens(path) for path in private)

    return _tried(what, attempt)


def _opens(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        if error.errno in _CLOSED:
            return False
        raise
    return True


def _tried(what: str, attempt: Callable[[], bool]) -> ProbeResult:
    """Run ``attempt`` in a child: 0 it holds, 1 it does not, 2 the kernel does not offer it."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if attempt() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 0:
        return ProbeResult(True, f"{what}: holds")
    why = "not on this machine" if code == 2 else "tried, and it could"
    return ProbeResult(False, f"{what}: no, {why}")
