"""Certificates and kits: trusted by whom they should be, readable by nobody else, never lost."""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from fl_client.settings import read_settings
from fl_server.authority.certificates import (
    Authority,
    ServerCertificate,
    SiteKit,
    SiteOptions,
    authority,
    server_certificate,
    site_kit,
)
from infomri_core.system.errors import InputError


def kit_in(folder: Path, ca: Authority) -> SiteKit:
    options = SiteOptions("127.0.0.1:8000", "phantom:?seed=1", 9095, vault={"device": "cpu"})
    return site_kit(folder, "north", ca, options)


def shake_hands(server: ServerCertificate, ca: Path, name: str) -> None:
    """A TLS handshake over a socket pair; raises as a client would."""
    ours, theirs = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)

    def serve() -> None:
        try:
            context.wrap_socket(theirs, server_side=True).close()
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context(cafile=str(ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()


def test_sites_trust_the_server_under_its_names_and_no_other(tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    hosts = ("127.0.0.1", "localhost", "centre.example")
    server = server_certificate(ca, tmp_path / "server", hosts)
    for name in hosts:
        shake_hands(server, ca.certificate, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, ca.certificate, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, authority(tmp_path / "other").certificate, "localhost")


def test_an_authority_is_kept_and_used_again(tmp_path: Path) -> None:
    before = authority(tmp_path).certificate.read_bytes()
    assert authority(tmp_path).certificate.read_bytes() == before
    (tmp_path / "ca.key").unlink()
    with pytest.raises(InputError, match=r"both ca\.crt and ca\.key"):
        authority(tmp_path)


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    server = server_certificate(ca, tmp_path / "server")
    kit = kit_in(tmp_path / "north", ca)
    for key in (ca.key, server.key, kit.node_key, kit.vault_key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_flower_reads_the_node_key_and_its_public_half(tmp_path: Path) -> None:
    kit = kit_in(tmp_path / "north", authority(tmp_path / "ca"))
    private = load_ssh_private_key(kit.node_key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert try_load_public_key(kit.public_key) == public_key_to_bytes(private.public_key())


def test_a_kit_is_a_site_that_can_start(tmp_path: Path) -> None:
    kit = kit_in(tmp_path / "north", authority(tmp_path / "ca"))
    settings = read_settings(kit.settings)
    assert settings.site.name == "north"
    assert settings.superlink.node_key == kit.node_key
    assert settings.superlink.root_certificate == kit.folder / "ca.crt"
    assert settings.superlink.runtime_port == 9095
    assert settings.vault.device == "cpu"
    assert "ca.key" not in {path.name for path in kit.folder.iterdir()}


def test_a_node_key_is_never_overwritten(tmp_path: Path) -> None:
    ca = authority(tmp_path / "ca")
    before = kit_in(tmp_path / "north", ca).node_key.read_bytes()
    with pytest.raises(InputError, match="no node key yet"):
        kit_in(tmp_path / "north", ca)
    assert (tmp_path / "north" / "node.key").read_bytes() == before
