"""A real nginx before a real SuperLink: a site can train through it, and can do nothing else."""

import os
import shutil
import socket
import ssl
import string
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from httpx import HTTPStatusError

from fl_server.operations.control import Control, public_key_bytes
from fl_server.serverapp import run_config
from infomri_core.machine import processes
from infomri_core.machine.ports import free_port
from infomri_core.system.errors import InputError
from tests.support.realfederation import PLAN, Federation, wait_for

TEMPLATE = Path(__file__).parents[2] / "deploy" / "proxy" / "nginx.conf"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]


def nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert found, "nginx is needed for these tests: apt-get install nginx-light"
    return found


def start_proxy(folder: Path, federation: Path, superlink: str) -> tuple[subprocess.Popen, int]:
    """nginx with the shipped configuration; the process and the port it listens on."""
    port = free_port()
    (folder / "run").mkdir()
    values = {
        "INFOMRI_LISTEN": f"127.0.0.1:{port}",
        "INFOMRI_FEDERATION": str(federation),
        "INFOMRI_SUPERLINK": superlink,
        "INFOMRI_RUN": str(folder / "run"),
    }
    filled = string.Template(TEMPLATE.read_text()).safe_substitute(values)
    (folder / "nginx.conf").write_text(filled)
    errors = str(folder / "run" / "error.log")
    line = [nginx(), "-e", errors, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    return processes.start(line, folder / "nginx.log", dict(os.environ)), port


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A stand-in federation whose site knows the proxy's address only."""
    folder = tmp_path_factory.mktemp("proxied")
    with Federation(folder, standin=True, STANDIN_SITES="1") as made:
        superlink = made.start_superlink()
        (folder / "nginx").mkdir()
        place = superlink.options.folder
        proxy, port = start_proxy(folder / "nginx", place, superlink.address)
        made.callback(processes.stop, proxy, 10.0)
        wait_for(lambda: answers(port), 20, (folder / "nginx" / "nginx.log").read_text)
        made.address = f"127.0.0.1:{port}"
        made.join_sites("a")
        yield made


@pytest.fixture
def outside(federation: Federation) -> Iterator[Control]:
    """The operator's client, pointed at the proxy."""
    certificate = federation.superlink.authority.certificate
    with Control(federation.address, certificate) as control:
        yield control


def test_a_site_trains_a_round_through_the_proxy(federation: Federation) -> None:
    state = federation.finish(federation.submit())
    assert state.outcome == "completed", federation.told()
    kinds = [[kind for _, kind in phase["replies"]] for phase in federation.times()]
    assert kinds == [["DatasetCard"], ["TrainReply"]]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda control, key: control.runs(),
        lambda control, key: control.nodes(),
        lambda control, key: control.submit(run_config(PLAN, "")),
        lambda control, key: control.stop("1"),
        lambda control, key: control.register(key, "intruder"),
        lambda control, key: control.unregister("1"),
    ],
    ids=["list", "nodes", "submit", "stop", "register", "unregister"],
)
def test_no_operator_gets_in(
    federation: Federation, outside: Control, attempt: Callable[[Control, Path], object]
) -> None:
    before = len(federation.control.runs()), len(federation.control.nodes())
    with pytest.raises(InputError, match="HTTP status 403"):
        attempt(outside, federation.kits["a"].public_key)
    assert (len(federation.control.runs()), len(federation.control.nodes())) == before


def test_nobody_acquires_a_task(federation: Federation) -> None:
    client = RuntimeHttpClient.from_server_address(
        server_address=federation.address,
        insecure=False,
        root_certificates=federation.superlink.authority.certificate.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec")],
    )
    with client, pytest.raises(HTTPStatusError) as refused:
        client.AcquireTask(AcquireTaskRequest(supported_task_types=["serverapp"]))
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/control/list-runs",
        "/v1/runtime/acquire-task",
        "/v1/fleet",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/%2e%2e/control/list-runs",
        "/v1/fleet/..%2fcontrol/list-runs",
        "/v1/fleet/%252e%252e/control/list-runs",
        "//v1/control/list-runs",
        "/v1//control/list-runs",
        "/V1/CONTROL/list-runs",
        "/v1/control/../fleet/../control/list-runs",
        "/v1/fleet/..;/control/list-runs",
    ],
)
def test_no_spelling_of_a_path_reaches_the_operators_side(
    federation: Federation, path: str
) -> None:
    certificate = federation.superlink.authority.certificate
    host, _, port = federation.address.partition(":")
    trust = ssl.create_default_context(cafile=certificate)
    connection = HTTPSConnection(host, int(port), timeout=10, context=trust)
    try:
        connection.request("POST", path, b"", {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        status = answer.status
    finally:
        connection.close()
    assert status in (400, 403, 404)


def test_a_site_shut_out_is_not_let_in_again(federation: Federation) -> None:
    kit = federation.kits["a"]
    key = load_ssh_private_key(kit.node_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = public_key_bytes(kit.public_key)
    client = FleetHttpClient.from_server_address(
        federation.address,
        False,
        federation.superlink.authority.certificate.read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    )
    with client:
        request = ActivateNodeRequest(public_key=public, heartbeat_interval=30.0)
        processes.stop(federation.clients["a"], 20.0)
        node = client.ActivateNode(request).node_id
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        assert listed(federation, public) == {"offline"}
        federation.control.unregister(str(node))
        assert listed(federation, public) <= {"unregistered"}
        with pytest.raises(HTTPStatusError):
            client.ActivateNode(request)


def listed(federation: Federation, key: bytes) -> set[str]:
    """How the SuperLink lists the nodes of a key."""
    return {node.status for node in federation.control.nodes() if node.public_key == key}
