"""Study centre to SuperLink: submit, follow and stop runs, register nodes (Flower's Control API).

Anyone who reaches this API is the operator: keep it on loopback, behind a proxy that asks for an
operator's certificate (``deploy/proxy/nginx.conf``).
"""

import hashlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import urlsplit

import click
import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.cli.build import build_fab_from_disk
from flwr.cli.constant import FLOWER_CONFIG_FILE
from flwr.cli.flower_config import read_superlink_connection
from flwr.common.serde import fab_to_proto, run_from_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    StreamLogsRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.utils import get_flwr_home

from fl_server.authority.operators import read_operator
from fl_server.operations.last_seen import last_seen
from infomri_core.machine.proxies import check_proxy, proxy_words
from infomri_core.system.errors import InputError

Q = TypeVar("Q")
R = TypeVar("R")

_FAILED = "ServerApp failed with exception: "
_WORDS = {
    "Task failed with unknown error.": "the study's process ended early, killed or with the "
    "SuperLink",
    "No heartbeat received from the task": "the study's process is gone: it was killed, or hangs",
    "[Errno 28] No space left on device": "the study centre's disk is full",
}


@dataclass(frozen=True)
class RunState:
    """How a run stands. ``status`` is pending, starting, running or finished; ``outcome`` is
    completed, failed or stopped once it has finished; times are ISO 8601 or ''."""

    run_id: str
    status: str
    outcome: str
    details: str
    submitted_at: str
    finished_at: str

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to the run."""
        return self.status == "finished"


@dataclass(frozen=True)
class NodeState:
    """A site's node. ``status`` is registered, online, offline or unregistered. ``last_seen``:
    when it was last connected, ISO 8601; '' for one that never was."""

    node_id: str
    name: str
    status: str
    public_key: bytes = b""
    last_seen: str = ""


class Control(AbstractContextManager["Control"]):
    """A connection to a SuperLink's Control API.

    Every method raises ``InputError`` when the SuperLink cannot be reached, is not trusted, or
    refuses.
    """

    def __init__(
        self, address: str, root_certificate: Path | None, operator: Path | None = None
    ) -> None:
        """``address`` is host:port; without a certificate the connection is in clear text.
        ``operator``: the folder of an operator's kit, for a SuperLink behind the proxy."""
        self._address, self._scheme = address, "https" if root_certificate else "http"
        check_proxy(urlsplit(f"//{address}").hostname or "", self._scheme)
        try:
            if operator is not None:
                self._client = ControlHttpClient(
                    f"https://{address}",
                    verify=operator_context(operator),
                    interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
                )
                return
            self._client = ControlHttpClient.from_server_address(
                server_address=address,
                insecure=root_certificate is None,
                root_certificates=_certificate(root_certificate),
                interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
            )
        except (ssl.SSLError, UnicodeDecodeError):
            remedy = "name the study centre's ca.crt"
            where = str(root_certificate)
            raise InputError(where, "a PEM certificate", "something else", remedy) from None

    @classmethod
    def named(cls, name: str | None, operator: Path | None = None) -> Self:
        """The connection ``name`` (None: the default) of ``$FLWR_HOME/config.toml``, or the one to
        HOST:PORT as the ``operator`` whose kit lies there."""
        if name is not None and ":" in name and operator is not None:
            return cls(name, operator / "ca.crt", operator)
        try:
            connection = read_superlink_connection(name)
        except click.ClickException as error:
            raise InputError(
                "--superlink",
                "the name of a SuperLink connection",
                _unknown(name, error.message),
                _how_to_name(name),
            ) from None
        certificate = connection.root_certificates
        if not connection.address or (certificate is None and not connection.insecure):
            got = f"neither for {name or 'the default connection'}"
            remedy = _how_to_name(name)
            raise InputError("--superlink", "address and root-certificates", got, remedy)
        return cls(connection.address, Path(certificate) if certificate else None, operator)

    def submit(self, config: Mapping[str, str]) -> str:
        """Start a run of the InfoMRI app with ``config`` as its run config; the run id."""
        with as_file(files("infomri_core") / "app") as folder:
            content = build_fab_from_disk(folder)
        fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
        request = StartRunRequest(
            fab=fab_to_proto(fab), override_config=user_config_to_proto(dict(config))
        )
        reply = self._call(self._client.StartRun, request)
        if not reply.HasField("run_id"):
            remedy = "see the SuperLink's log"
            raise InputError(self._address, "a run to start", "a refusal", remedy)
        return str(reply.run_id)

    def runs(self, run_id: str | None = None) -> list[RunState]:
        """All runs, newest first, or the one of that id."""
        request = ListRunsRequest(run_id=None if run_id is None else _number(run_id))
        reply = self._call(self._client.ListRuns, request)
        runs = [run_from_proto(proto) for proto in reply.run_dict.values()]
        return [
            RunState(
                run_id=str(run.run_id),
                status=run.status.status,
                outcome=run.status.sub_status,
                details=_in_words(run.status.details),
                submitted_at=run.pending_at,
                finished_at=run.finished_at,
            )
            for run in sorted(runs, key=lambda run: run.pending_at, reverse=True)
        ]

    def state(self, run_id: str) -> RunState:
        """How one run stands."""
        return self.runs(run_id)[0]

    def stop(self, run_id: str) -> bool:
        """Stop a run; whether it was running."""
        return self._call(self._client.StopRun, StopRunRequest(run_id=_number(run_id))).success

    def log(self, run_id: str, after: float = 0.0) -> Iterator[tuple[str, float]]:
        """Pieces of a run's log after a timestamp, each with the timestamp to go on from.

        Blocks while the run continues.
        """
        request = StreamLogsRequest(run_id=int(run_id), after_timestamp=after)
        with self._errors():
            for piece in self._client.StreamLogs(request):
                yield piece.log_output, piece.latest_timestamp

    def register(self, public_key: Path, name: str) -> str:
        """Admit the site whose OpenSSH public key is in the file; its node id."""
        request = RegisterNodeRequest(public_key=public_key_bytes(public_key), name=name)
        return str(self._call(self._client.RegisterNode, request).node_id)

    def unregister(self, node_id: str) -> None:
        """Shut a site out."""
        self._call(self._client.UnregisterNode, UnregisterNodeRequest(node_id=int(node_id)))

    def nodes(self) -> list[NodeState]:
        """All registered sites."""
        reply = self._call(self._client.ListNodes, ListNodesRequest())
        return [
            NodeState(str(n.node_id), n.name, n.status, n.public_key, last_seen(n))
            for n in reply.nodes_info
        ]

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _call(self, method: Callable[[Q], R], request: Q) -> R:
        with self._errors():
            return method(request)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            known = FlowerError.from_json(error.response.text)
            got = known.message if known else f"HTTP status {error.response.status_code}"
            remedy = "see `infomri status`, or the SuperLink's log"
            raise InputError(self._address, "a request it accepts", got, remedy) from None
        except httpx.TransportError as error:
            if "CERTIFICATE" in str(error).upper():
                remedy = "use the ca.crt of the study centre that runs this SuperLink"
                got = "a certificate it did not sign"
                raise InputError(self._address, "a trusted SuperLink", got, remedy) from None
            remedy = "start flower-superlink or correct the address"
            if words := proxy_words(urlsplit(f"//{self._address}").hostname or "", self._scheme):
                remedy = f"{remedy}; {words}"
            raise InputError(self._address, "a running SuperLink", str(error), remedy) from None


def operator_context(operator: Path) -> ssl.SSLContext:
    """TLS towards the study centre with the certificate of the kit in ``operator``."""
    read_operator(operator)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=_bytes(operator / "ca.crt", "a CA certificate").decode())
    context.load_cert_chain(operator / "operator.crt", operator / "operator.key")
    return context


def _number(run_id: str) -> int:
    try:
        return int(run_id)
    except ValueError:
        remedy = "`infomri status` lists the runs"
        raise InputError("run", "the number of a run", f"'{run_id}'", remedy) from None


def _unknown(name: str | None, message: str) -> str:
    """What Flower says of a connection it can't read; its own words only where they say more."""
    if "unexpected error" in message or "not found" in message.lower():
        return "no connection by default" if name is None else f"no connection named '{name}'"
    return message


def _how_to_name(name: str | None) -> str:
    return (
        f"in {get_flwr_home() / FLOWER_CONFIG_FILE} write [superlink.{name or 'NAME'}] with "
        'address = "127.0.0.1:8000" and root-certificates = "/path/to/ca.crt"'
    )


def _certificate(path: Path | None) -> bytes | None:
    return None if path is None else _bytes(path, "a CA certificate")


def public_key_bytes(path: Path) -> bytes:
    """A node's public key as the SuperLink keeps it. ``InputError`` when the file holds none."""
    data = _bytes(path, "an OpenSSH public key")
    try:
        key = load_ssh_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        remedy = "use the kit's node.pub"
        raise InputError(str(path), "an OpenSSH ECDSA public key", "something else", remedy)
    return public_key_to_bytes(key)


def _bytes(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), expected, got, "check the path") from None


def _in_words(details: str) -> str:
    """Flower's details of a run's end as one that an operator can act on."""
    plain = details.removeprefix(_FAILED)
    return next((words for said, words in _WORDS.items() if plain.startswith(said)), plain)
