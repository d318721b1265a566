"""Proxies of the environment: used for what lies outside, named in errors, never for loopback."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from fl_server.health import trust
from fl_server.health.study import check_tracking
from fl_server.operations.control import Control
from infomri_core.machine.ports import free_port
from infomri_core.machine.proxies import check_proxy, keep_loopback_direct, proxy_words
from infomri_core.system.errors import InputError

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy")


@pytest.fixture(autouse=True)
def none_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[str]]]:
    """A proxy that notes the head of one request and answers 200, then closes."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with server.accept()[0] as connection:
                asked.append(connection.recv(4096).decode())
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], asked
        thread.join()


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_named_by_its_variable_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert proxy_words("centre.example") == ""
    monkeypatch.setenv(name, "http://user:secret@proxy.example:3128/")
    words = proxy_words("centre.example")
    assert words.startswith(f"{name} sends this through proxy.example:3128")
    assert "secret" not in words and "user" not in words
    monkeypatch.setenv("no_proxy", ".example")
    assert proxy_words("centre.example") == ""
    keep_loopback_direct()
    assert proxy_words("127.0.0.1") == proxy_words("localhost") == proxy_words("::1") == ""


def test_the_doctor_goes_through_the_proxy_as_the_site_does(
    monkeypatch: pytest.MonkeyPatch, proxy: tuple[int, list[str]]
) -> None:
    port, asked = proxy
    monkeypatch.setenv("https_proxy", f"http://us%40er:pass@127.0.0.1:{port}")
    (found,) = trust.check_superlink("centre.example:9092", None)
    assert found.found == "something answers, who is unknown"
    assert asked[0].startswith("CONNECT centre.example:9092 ")
    assert "Proxy-Authorization: Basic dXNAZXI6cGFzcw==" in asked[0]


def test_errors_of_connections_name_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"127.0.0.1:{free_port('127.0.0.1')}"
    for name in ("https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://{nobody}")
    (found,) = trust.check_superlink("centre.example:9092", None)
    assert f"https_proxy sends this through {nobody}" in found.remedy
    (found,) = check_tracking("http://centre.example:5000")
    assert f"http_proxy sends this through {nobody}" in found.remedy
    with (
        Control("centre.example:9093", None) as control,
        pytest.raises(InputError, match=f"http_proxy sends this through {nobody}"),
    ):
        control.runs()


def test_grpc_has_variables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads ``no_grpc_proxy`` in place of ``no_proxy``: loopback went through the proxy."""
    monkeypatch.setenv("grpc_proxy", "http://inner.example:8080")
    monkeypatch.setenv("https_proxy", "http://outer.example:8080")
    assert "grpc_proxy sends this through inner.example:8080" in proxy_words("centre.example")
    assert "https_proxy" in proxy_words("centre.example", "https")
    monkeypatch.setenv("no_grpc_proxy", "centre.example")
    assert proxy_words("centre.example") == "" != proxy_words("other.example")
    keep_loopback_direct()
    assert proxy_words("127.0.0.1") == proxy_words("localhost") == ""
    listed = os.environ[VARIABLES[-1]].split(",")
    assert listed == ["centre.example", "localhost", "127.0.0.1", "::1"]


@pytest.mark.parametrize("name", ["all_proxy", "ALL_PROXY", "HTTPS_PROXY", "http_proxy"])
def test_a_proxy_that_speaks_no_http_leaves_loopback_alone_and_is_refused_elsewhere(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """httpx fails on a SOCKS proxy as soon as a client is made, whatever it is for."""
    url = "socks5h://user:secret@proxy.example:1080"
    monkeypatch.setattr(os, "environ", {**os.environ, name: url})
    keep_loopback_direct()
    for host in ("127.0.0.1", "localhost"):
        check_proxy(host, "http")
    with (
        Control(f"127.0.0.1:{free_port()}", None) as control,
        pytest.raises(InputError, match="a running SuperLink"),
    ):
        control.nodes()
    scheme = "https" if name == "HTTPS_PROXY" else "http"
    with pytest.raises(InputError, match=f"{name}: expected the address of an HTTP proxy") as told:
        check_proxy("centre.example", scheme)
    assert "secret" not in str(told.value)
    assert "proxy.example:1080" in proxy_words("centre.example", scheme)
    keep_loopback_direct()
    os.environ["no_proxy"] += ",centre.example"
    check_proxy("centre.example", scheme)
