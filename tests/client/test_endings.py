"""Why a connection failed is told by codes and types, whatever words stand beside."""

import errno
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from flwr.supercore.error import ApiErrorCode

from fl_client.network.endings import Ending, ending_of
from fl_server.authority.certificates import authority, server_certificate


@contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection on loopback; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=work)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/activate-node?is+not+registered"
        thread.join()


def failure(url: str, trust: ssl.SSLContext) -> httpx.HTTPError:
    with (
        httpx.Client(verify=trust, trust_env=False) as client,
        pytest.raises(httpx.HTTPError) as raised,
    ):
        client.get(url)
    return raised.value


@pytest.fixture
def trust() -> ssl.SSLContext:
    return ssl.create_default_context()


def hang_up(connection: socket.socket) -> None:
    """What a TCP proxy does whose backend is down: the handshake finds the end of the file."""
    connection.recv(1)


def speak_http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")


def test_an_end_of_file_in_the_handshake_may_pass(trust: ssl.SSLContext) -> None:
    with answering(hang_up) as url:
        assert ending_of(failure(url, trust)) is Ending.UNREACHABLE


def test_what_speaks_no_tls_is_known_by_its_reason(trust: ssl.SSLContext) -> None:
    with answering(speak_http) as url:
        assert ending_of(failure(url, trust)) is Ending.NO_TLS


def test_a_foreign_certificate_is_known_by_its_verification(
    tmp_path: Path, trust: ssl.SSLContext
) -> None:
    made = server_certificate(authority(tmp_path / "ca"), tmp_path / "server")
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(made.certificate, made.key)

    def serve(connection: socket.socket) -> None:
        with pytest.raises(ssl.SSLError):
            own.wrap_socket(connection, server_side=True)

    with answering(serve) as url:
        assert ending_of(failure(url, trust)) is Ending.UNTRUSTED


@pytest.mark.parametrize("code", [9, 10])
def test_a_certificate_out_of_date_is_known_by_openssl_s_number(code: int) -> None:
    error = ssl.SSLCertVerificationError("whatever words")
    error.verify_code = code
    outer = httpx.ConnectError("other words")
    outer.__cause__ = error
    assert ending_of(outer) is Ending.CERTIFICATE_ENDED


@pytest.mark.parametrize(
    ("status", "body", "ending"),
    [
        (400, {"code": int(ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED)}, Ending.KEY_REFUSED),
        (400, {"code": int(ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL)}, None),
        (401, {}, Ending.KEY_REFUSED),
        (502, {}, Ending.UNREACHABLE),
        (404, {}, None),
    ],
)
def test_an_answer_is_known_by_its_code(
    status: int, body: dict[str, int], ending: Ending | None
) -> None:
    told = body | {"detail": "activate: public key not registered", "public_message": "activate"}
    request = httpx.Request("POST", "https://centre/v1/fleet/activate-node")
    response = httpx.Response(status, text=json.dumps(told) if body else "", request=request)
    error = httpx.HTTPStatusError("activate", request=request, response=response)
    assert ending_of(error) is ending


def test_full_and_read_only_disks_are_known_by_the_system_s_number() -> None:
    assert ending_of(OSError(errno.ENOSPC, "words")) is Ending.UNWRITABLE
    assert ending_of(OSError(errno.EROFS, "words")) is Ending.UNWRITABLE
    assert ending_of(ConnectionRefusedError(errno.ECONNREFUSED, "activate")) is None
