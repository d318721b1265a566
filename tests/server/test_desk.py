"""The desk's nginx: dashboard and MLflow answer who has the password, and nobody else."""

import base64
import os
import ssl
import string
import threading
from collections.abc import Iterator
from http.client import HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fl_server.authority.certificates import LOOPBACK, authority, server_certificate
from infomri_core.machine import processes
from infomri_core.machine.ports import free_port
from tests.server.test_proxy import nginx
from tests.support.realfederation import wait_for

TEMPLATE = Path(__file__).parents[2] / "deploy" / "proxy" / "desk.conf"
PASSWORD = "lead:{PLAIN}open sesame\n"


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers it was asked with."""

    def do_GET(self) -> None:
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, int]]]:
    """Folder with ca/ca.crt, and the ports of dashboard and MLflow behind the desk."""
    folder = tmp_path_factory.mktemp("desk")
    server_certificate(authority(folder / "ca"), folder / "server", LOOPBACK)
    (folder / "passwords").write_text(PASSWORD)
    upstreams = [HTTPServer(("127.0.0.1", 0), Echo) for _ in range(2)]
    for upstream in upstreams:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
    ports = {"dashboard": free_port(), "mlflow": free_port()}
    values = {
        "INFOMRI_DASHBOARD_LISTEN": f"127.0.0.1:{ports['dashboard']}",
        "INFOMRI_MLFLOW_LISTEN": f"127.0.0.1:{ports['mlflow']}",
        "INFOMRI_DASHBOARD": f"127.0.0.1:{upstreams[0].server_port}",
        "INFOMRI_MLFLOW": f"127.0.0.1:{upstreams[1].server_port}",
        "INFOMRI_FEDERATION": str(folder),
        "INFOMRI_PASSWORDS": str(folder / "passwords"),
        "INFOMRI_RUN": str(folder),
    }
    config = folder / "nginx.conf"
    config.write_text(string.Template(TEMPLATE.read_text()).safe_substitute(values))
    # Started by root, nginx lets its workers be somebody else, who must reach the folder.
    lines = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    line = [nginx(), "-e", str(folder / "error.log"), "-c", str(config), "-g", lines]
    running = processes.start(line, folder / "nginx.log")
    wait_for(lambda: answers(folder, ports["mlflow"]), 20, (folder / "nginx.log").read_text)
    yield folder, ports
    processes.stop(running)
    for upstream in upstreams:
        upstream.shutdown()
        upstream.server_close()


def answers(folder: Path, port: int) -> bool:
    try:
        return ask(folder, port)[0] == 401
    except OSError:
        return False


def ask(folder: Path, port: int, password: str = "", **headers: str) -> tuple[int, str]:
    """Status and body of a GET over TLS with the centre's certificate."""
    context = ssl.create_default_context(cafile=folder / "ca" / "ca.crt")
    connection = HTTPSConnection("localhost", port, context=context, timeout=10)
    if password:
        token = base64.b64encode(f"lead:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    try:
        connection.request("GET", "/api/2.0/mlflow/experiments/search", headers=headers)
        response: HTTPResponse = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("part", ["dashboard", "mlflow"])
def test_without_the_password_nothing_is_answered(
    desk: tuple[Path, dict[str, int]], part: str
) -> None:
    folder, ports = desk
    assert ask(folder, ports[part])[0] == 401
    assert ask(folder, ports[part], "guess")[0] == 401


@pytest.mark.parametrize("part", ["dashboard", "mlflow"])
def test_the_password_opens_and_goes_no_further(
    desk: tuple[Path, dict[str, int]], part: str
) -> None:
    folder, ports = desk
    status, seen = ask(folder, ports[part], "open sesame")
    assert status == 200
    assert "Authorization" not in seen


def test_mlflow_is_asked_under_its_own_name_and_the_dashboard_may_stream(
    desk: tuple[Path, dict[str, int]],
) -> None:
    folder, ports = desk
    _, seen = ask(folder, ports["mlflow"], "open sesame")
    assert f"Host: localhost:{ports['mlflow']}" not in seen
    _, seen = ask(folder, ports["dashboard"], "open sesame", Upgrade="websocket")
    assert "Upgrade: websocket" in seen
    assert "Connection: upgrade" in seen
