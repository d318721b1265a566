"""The three processes of a site: vault, SuperNode, executor; and what their logs mean."""

import logging
import os
import re
import secrets
import stat
import sys
import sysconfig
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fl_client.network.courier import VAULT_SOCKET
from fl_client.network.endings import Ending
from fl_client.network.pulse import Pulse, pulse_file
from fl_client.network.stalled_task import StalledTask
from fl_client.network.supernode import HOST, node_file, secret_file
from fl_client.settings import SiteSettings
from fl_client.sockets.channel import listening
from fl_client.supervision.supervisor import Fault, SiteProcess
from infomri_core.machine.ports import check_port, without_local_proxy
from infomri_core.system.errors import InputError
from infomri_core.system.logs import message_of

INPUT_ERROR_CODE = 2
UNWRITABLE_CODE = 3
ABSENT_CODE = 4

_log = logging.getLogger("infomri.client")

_EVENTS = (
    (r"SuperNode ID: (\d+)", r"connected to {address} as node \1"),
    (r"Connection attempt failed, retrying", r"{address} does not answer; trying again"),
    (r"Connection successful after", r"{address} answers again"),
    (r"Receiving: (\S+) message", r"task received: \1"),
    (r"Sent successfully", r"reply sent"),
    (r"Failed to send message (.*)", r"the reply could not be sent: \1"),
    (r"Failed to receive message (.*)", r"the task could not be received: \1"),
)
_FLOWER = re.compile(r"[A-Z]+\s*:\s+")
_CLOCK = re.compile(r" ERROR (this site's clock is .* correct it)$")
_ENDINGS = {
    Ending.CERTIFICATE_ENDED: "the certificate of {address} has ended; the study centre renews it "
    "with `infomri provision` and starts its SuperLink again",
    Ending.UNTRUSTED: "{address} showed a certificate that {certificate} did not sign; ask the "
    "study centre for its current ca.crt and the exact host name",
    Ending.NO_TLS: "{address} does not speak TLS; check [superlink] address in site.toml",
    Ending.KEY_REFUSED: "{address} does not know this site's key ({key}), or another client is "
    "connected with it; have the study centre register its public half (node.pub of the kit), or "
    "stop the other",
    Ending.PORT_TAKEN: "another program took the port on which SuperNode and executor meet",
    Ending.UNREACHABLE: "{address} does not answer",
    Ending.UNWRITABLE: "the state folder cannot be written; make room, or give this user "
    "the right",
}
_LASTING = frozenset({Ending.UNTRUSTED, Ending.NO_TLS})
"""What waiting does not change, in a connection that never stood."""


def site_processes(
    config: Path, settings: SiteSettings, *, folder: Path | None = None, with_vault: bool = True
) -> list[SiteProcess]:
    """The parts of the site of ``settings``, read from ``config``, in the order to start them.

    Logs and Flower's own files go to ``folder``, by default the vault's state folder. Without the
    vault (another user or container runs it) the SuperNode waits for no one. Raises ``InputError``
    where something is missing that every start would need.
    """
    _check_credentials(settings)
    if settings.superlink.runtime_port is not None:
        remedy = "set [superlink] runtime_port in site.toml"
        check_port(HOST, settings.superlink.runtime_port, remedy)
    folder = (folder or settings.vault.state).resolve()
    _make_secret(secret_file(folder))
    stalled, pulse = StalledTask(), Pulse(pulse_file(folder))
    network = [
        _executor(settings, folder, stalled, pulse),
        _supernode(config, settings, folder, with_vault, stalled),
    ]
    return [_vault(config, settings, folder, pulse), *network] if with_vault else network


def _vault(config: Path, settings: SiteSettings, folder: Path, pulse: Pulse) -> SiteProcess:
    return SiteProcess(
        name="vault",
        command=(
            sys.executable,
            "-m",
            "fl_client.vault.process",
            "--config",
            str(config.resolve()),
        ),
        log=folder / "log" / "vault.log",
        ready=partial(listening, settings.vault.socket_path),
        fault=_vault_fault,
        stuck=pulse.vault,
        begun=pulse.reset,
    )


def _executor(
    settings: SiteSettings, folder: Path, stalled: StalledTask, pulse: Pulse
) -> SiteProcess:
    command = (sys.executable, "-m", "fl_client.network.executor")
    return SiteProcess(
        name="executor",
        command=(*command, "--secret-file", str(secret_file(folder)), "--confine", str(folder)),
        log=folder / "log" / "executor.log",
        environment={
            **_flower_environment(folder),
            VAULT_SOCKET: str(settings.vault.socket_path),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        event=partial(_executor_event, stalled),
        stuck=pulse.executor,
        begun=pulse.reset,
    )


def _supernode(
    config: Path, settings: SiteSettings, folder: Path, with_vault: bool, stalled: StalledTask
) -> SiteProcess:
    command = (
        sys.executable,
        "-m",
        "fl_client.network.supernode",
        "--config",
        str(config.resolve()),
    )
    return SiteProcess(
        name="supernode",
        command=(*command, "--folder", str(folder)),
        log=folder / "log" / "supernode.log",
        environment=_flower_environment(folder),
        needs="vault" if with_vault else None,
        fault=partial(_supernode_fault, settings, folder),
        event=partial(_supernode_event, settings, folder, stalled),
        stuck=stalled.verdict,
    )


def _flower_environment(folder: Path) -> dict[str, str]:
    scripts = sysconfig.get_path("scripts")
    return {
        **without_local_proxy(),
        "FLWR_HOME": str(folder / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def _vault_fault(code: int, lines: Sequence[str]) -> Fault | None:
    if code not in (INPUT_ERROR_CODE, UNWRITABLE_CODE, ABSENT_CODE):
        return None
    said = [message_of(line, " ERROR vault: ") for line in lines if line.strip()]
    why = said[-1] if said else "refused its settings"
    return Fault(why, final=code == INPUT_ERROR_CODE)


def _executor_event(stalled: StalledTask, line: str) -> str | None:
    """A courier that died took its task along; the study centre asks again. A foreign bundle."""
    stalled.executor(line)
    if "refused a run" in line:
        return message_of(line, " ERROR ")
    _, found, ending = message_of(line, " WARNING ").partition("a courier ended with ")
    return f"a courier ended with {ending}; its task is lost, to be sent again" if found else None


def _supernode_event(
    settings: SiteSettings, folder: Path, stalled: StalledTask, line: str
) -> str | None:
    stalled.supernode(line)
    if clock := _CLOCK.search(f" ERROR {message_of(line, ' ERROR ')}"):
        return clock[1]
    said = line[found.end() :] if (found := _FLOWER.match(line)) else line
    for pattern, sentence in _EVENTS:
        match = re.match(pattern, said)
        if match:
            if pattern.startswith("SuperNode ID"):
                _note_node(folder, match[1])
            return match.expand(sentence.replace("{address}", settings.superlink.address))
    return None


def _note_node(folder: Path, node: str) -> None:
    try:
        node_file(folder).write_text(node)
    except OSError as error:
        _log.warning("%s cannot be written: %s", node_file(folder), error.strerror)


def _supernode_fault(
    settings: SiteSettings, folder: Path, code: int, lines: Sequence[str]
) -> Fault | None:
    """What its exit code means. Whatever ended a site that was connected before may pass."""
    if code == INPUT_ERROR_CODE:
        said = [message_of(line, " ERROR ") for line in lines if line.strip()]
        return Fault(said[-1] if said else "refused its settings", final=True)
    if code not in _ENDINGS:
        return None
    link = settings.superlink
    sentence = _ENDINGS[Ending(code)].format(
        address=link.address, certificate=link.root_certificate, key=link.node_key
    )
    return Fault(sentence, final=code in _LASTING and not node_file(folder).exists())


def _check_credentials(settings: SiteSettings) -> None:
    link = settings.superlink
    if link.root_certificate is not None:
        try:
            x509.load_pem_x509_certificates(_bytes(link.root_certificate))
        except ValueError:
            remedy = "copy the study centre's ca.crt there"
            where = str(link.root_certificate)
            raise InputError(where, "a PEM certificate", "something else", remedy) from None
    elif link.node_key is not None:
        remedy = "name the study centre's ca.crt in [superlink] root_certificate"
        raise InputError("[superlink] node_key", "TLS with it", "insecure = true", remedy)
    if link.node_key is not None:
        _check_key(link.node_key)


def _check_key(path: Path) -> None:
    data, mode = _bytes(path), stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(str(path), "mode 0600", f"{mode:04o}", f"chmod 600 {path}")
    try:
        key = load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        remedy = "use the kit's node.key, or ssh-keygen -t ecdsa -b 384 -N ''"
        raise InputError(str(path), "an OpenSSH ECDSA private key", "something else", remedy)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        got = error.strerror or type(error).__name__
        remedy = "check the path in site.toml [superlink]"
        raise InputError(str(path), "a readable file", got, remedy) from None


def _make_secret(path: Path) -> None:
    """A fresh secret that SuperNode and executor share, so that no other local user can take
    the SuperNode's tasks."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(32))
