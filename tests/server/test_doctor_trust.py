"""Certificates, keys and the SuperLink's identity, as the doctor judges them."""

import base64
import datetime
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fl_server.authority import certificates
from fl_server.authority.certificates import SiteKit, SiteOptions
from fl_server.authority.site_keys import write_site_lists
from fl_server.health import trust
from fl_server.health.finding import Finding, Level, run_checks
from fl_server.health.places import DoctorRequest, checks


def levels(findings: Iterator[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


@pytest.fixture
def kits(tmp_path: Path) -> list[SiteKit]:
    """Three kits that know each other."""
    ca, options = certificates.authority(tmp_path / "ca"), SiteOptions("127.0.0.1:1", "phantom:")
    made = [
        certificates.site_kit(tmp_path / n, n, ca, options) for n in ("north", "south", "east")
    ]
    write_site_lists(made)
    return made


def secure(kit: SiteKit) -> Finding:
    """What the doctor, asked for this kit, says of secure aggregation."""
    wanted = ("vault key", "secure aggregation")
    found = list(run_checks(c for c in checks(DoctorRequest(site=kit.settings)) if c[0] in wanted))
    return max(reversed(found), key=lambda finding: list(Level).index(finding.level))


def test_vault_keys_that_belong_together_are_told_with_the_own_fingerprint(kits: list[SiteKit]):
    found = secure(kits[0])
    assert found.level is Level.OK
    assert "east, north, south" in found.found
    line = kits[0].vault_public_key.read_bytes()
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    assert f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}" in found.found


def test_what_would_have_a_secure_plan_refused_is_found_with_its_remedy(kits: list[SiteKit]):
    north, south, east = kits
    listed = north.folder / "sites.toml"
    listed.chmod(0o666)
    assert (secure(north).level, secure(north).remedy) == (Level.PROBLEM, f"chmod 644 {listed}")
    listed.chmod(0o644)
    north.vault_key.chmod(0o640)
    assert (secure(north).level, secure(north).found) == (
        Level.PROBLEM,
        "mode 0640: others can read it",
    )
    south.vault_key.write_bytes(east.vault_key.read_bytes())
    assert secure(south).level is Level.PROBLEM and "public half" in secure(south).found
    south.vault_key.unlink()
    assert secure(south).level is Level.PROBLEM and "vault.key" in secure(south).found
    write_site_lists([east])
    assert secure(east).level is Level.WARNING and "all" in secure(east).remedy
    for path in (east.vault_key, east.folder / "sites.toml"):
        path.unlink()
    assert secure(east).level is Level.WARNING and "[secure]" in secure(east).remedy


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A certificate authority's certificate, and a port that answers with TLS for 127.0.0.1."""
    ca = certificates.authority(tmp_path / "ca")
    made = certificates.server_certificate(ca, tmp_path / "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_once, args=(listener, context))
        thread.start()
        yield ca.certificate, int(listener.getsockname()[1])
        with socket.socket() as last:
            last.connect_ex(listener.getsockname())
        thread.join()


def answer_once(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection:
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            return


@pytest.mark.parametrize(
    ("days", "level"),
    [(0, "ok"), (3600, "ok"), (3630, "warning"), (4000, "problem"), (-10, "problem")],
)
def test_a_certificate_is_judged_by_its_dates(tmp_path: Path, days: int, level: str):
    ca = certificates.authority(tmp_path)
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    assert levels(trust.check_certificate(ca.certificate, now)) == [level]


def test_certificates_that_are_none_are_problems(tmp_path: Path):
    (tmp_path / "bad.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    for name in ("bad.crt", "absent.crt"):
        assert levels(trust.check_certificate(tmp_path / name)) == [Level.PROBLEM]


def test_a_key_that_others_can_read_is_a_problem(tmp_path: Path):
    ca = certificates.authority(tmp_path / "ca")
    options = SiteOptions("127.0.0.1:1", "phantom:")
    kit = certificates.site_kit(tmp_path / "north", "north", ca, options)
    assert levels(trust.check_private_key(kit.node_key)) == [Level.OK]
    kit.node_key.chmod(0o640)
    (found,) = trust.check_private_key(kit.node_key)
    assert found.level is Level.PROBLEM
    assert found.remedy == f"chmod 600 {kit.node_key}"


@pytest.mark.parametrize("kind", ["encrypted", "ed25519", "noise", "public"])
def test_keys_a_supernode_cannot_use_are_problems(tmp_path: Path, kind: str):
    path, plain = tmp_path / "node.key", serialization.NoEncryption()
    pem, openssh = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    key = ec.generate_private_key(ec.SECP384R1())
    locked = serialization.BestAvailableEncryption(b"secret")
    pkcs8 = serialization.PrivateFormat.PKCS8
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(
        {
            "encrypted": key.private_bytes(pem, pkcs8, locked),
            "ed25519": ed25519.Ed25519PrivateKey.generate().private_bytes(pem, openssh, plain),
            "noise": b"noise",
            "public": key.public_key().public_bytes(pem, subject),
        }[kind]
    )
    path.chmod(0o600)
    assert levels(trust.check_private_key(path)) == [Level.PROBLEM]


def test_a_superlink_proves_itself_to_its_own_authority_alone(
    tls_server: tuple[Path, int], tmp_path: Path
):
    certificate, port = tls_server
    (found,) = trust.check_superlink(f"127.0.0.1:{port}", certificate)
    assert found.level is Level.OK
    assert "TLSv1" in found.found


def test_a_superlink_of_another_authority_is_a_problem(
    tls_server: tuple[Path, int], tmp_path: Path
):
    other = certificates.authority(tmp_path / "other").certificate
    (found,) = trust.check_superlink(f"127.0.0.1:{tls_server[1]}", other)
    assert found.level is Level.PROBLEM
    assert "refused" in found.found


def test_a_superlink_without_a_certificate_to_check_is_a_warning(tls_server: tuple[Path, int]):
    assert levels(trust.check_superlink(f"127.0.0.1:{tls_server[1]}", None)) == [Level.WARNING]
