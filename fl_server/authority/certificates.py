"""Certificates, node keys and site kits: what a federation needs before it starts.

The certificate authority is kept in its folder and used again, so that sites can be added later;
for a demonstration the folder is simply thrown away afterwards.
"""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infomri_core.system.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost")
CA_DAYS = 3650
SERVER_DAYS = 825


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder: ``ca.crt`` for everybody, ``ca.key`` (0600)."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """The certificate that every party trusts."""
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        """The key that signs; it stays with the study centre."""
        return self.folder / "ca.key"

    @property
    def revocations(self) -> Path:
        """The operators' certificates that are shut out, for proxy and ServerApp."""
        return self.folder / "ca.crl"


@dataclass(frozen=True)
class ServerCertificate:
    """The SuperLink's certificate and its private key (0600)."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class SiteKit:
    """What one hospital gets: a folder with ``ca.crt``, two keys and ``site.toml``.

    ``public_key`` is what the study centre registers with its SuperLink; ``vault_public_key`` is
    what the other sites check this one's announcements with.
    """

    name: str
    folder: Path
    settings: Path
    node_key: Path
    public_key: Path
    vault_key: Path
    vault_public_key: Path


@dataclass(frozen=True)
class SiteOptions:
    """What goes into a ``site.toml`` beside the kit's own files; ``data`` is a data URI. Without
    a ``runtime_port`` the site takes a free one at every start."""

    address: str
    data: str
    runtime_port: int | None = None
    vault: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    kit: dict[str, Any] = field(default_factory=dict)


def authority(folder: Path) -> Authority:
    """The authority in ``folder``; made when there is none, kept when there is one."""
    made = Authority(folder)
    present = [path for path in (made.certificate, made.key) if path.exists()]
    if len(present) == 1:
        remedy = "restore the missing file or start with an empty folder"
        raise InputError(str(folder), "both ca.crt and ca.key", present[0].name, remedy)
    if not present:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP384R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "InfoMRI study centre CA")])
        builder = _builder(name, name, key.public_key(), CA_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), True)
        try:
            _write_private(made.key, key_pem(key))
            _write(made.certificate, certificate_pem(builder, key))
        except OSError:
            # Half an authority would be in the way of the next attempt.
            for path in (made.key, made.certificate):
                path.unlink(missing_ok=True)
            raise
    if not made.revocations.exists():
        _write(made.revocations, revocation_list(made, ()))
    return made


def revocation_list(ca: Authority, serials: Sequence[int]) -> bytes:
    """The list of revoked certificates that ``ca`` signs, in force as long as ``ca`` is."""
    issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
    builder = builder.last_update(now - datetime.timedelta(minutes=5))
    builder = builder.next_update(issuer.not_valid_after_utc)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    signed = builder.sign(load_signer(ca.key), hashes.SHA384())
    return signed.public_bytes(serialization.Encoding.PEM)


def server_certificate(
    ca: Authority, folder: Path, hosts: Sequence[str] = LOOPBACK
) -> ServerCertificate:
    """A new certificate for a SuperLink that is reached under ``hosts`` (names or addresses)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = load_signer(ca.key)
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    builder = leaf_builder(ca, signer, name, key.public_key(), SERVER_DAYS, usage)
    names = x509.SubjectAlternativeName([_san(host) for host in hosts])
    builder = builder.add_extension(names, False)
    made = ServerCertificate(folder / "server.crt", folder / "server.key")
    _write_private(made.key, key_pem(key))
    _write(made.certificate, certificate_pem(builder, signer))
    return made


def leaf_builder(
    ca: Authority,
    signer: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    days: int,
    usage: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    """What every certificate that ``ca`` issues has in common; ``usage`` is its only purpose."""
    issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return (
        _builder(subject, issuer.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_usage(digital_signature=True), True)
        .add_extension(x509.ExtendedKeyUsage([usage]), False)
        .add_extension(authority_id, False)
    )


def site_kit(folder: Path, name: str, ca: Authority, options: SiteOptions) -> SiteKit:
    """A new kit for a site. Refuses to overwrite a node key, which is the site's identity."""
    files = ("site.toml", "node.key", "node.pub", "vault.key", "vault.pub")
    kit = SiteKit(name, folder, *(folder / file for file in files))
    if kit.node_key.exists():
        remedy = "keep it, or remove the folder and register the new key"
        raise InputError(str(folder), "no node key yet", "node.key", remedy)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _key_pair(kit.node_key, kit.public_key, name)
    _key_pair(kit.vault_key, kit.vault_public_key, name)
    _write(folder / "ca.crt", ca.certificate.read_bytes())
    _write(kit.settings, tomli_w.dumps(site_table(name, options)).encode())
    return kit


def _key_pair(private: Path, public: Path, comment: str) -> None:
    """A fresh key and its public half, both as OpenSSH keeps them."""
    key = ec.generate_private_key(ec.SECP384R1())
    _write_private(private, key_pem(key, serialization.PrivateFormat.OpenSSH))
    line = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    _write(public, line + f" {comment}\n".encode())


def site_table(name: str, options: SiteOptions) -> dict[str, Any]:
    """A kit's ``site.toml``."""
    port = options.runtime_port
    table: dict[str, Any] = {
        "site": {"name": name},
        "superlink": {
            "address": options.address,
            "root_certificate": "ca.crt",
            "node_key": "node.key",
            **({} if port is None else {"runtime_port": port}),
        },
        "data": {"uri": options.data},
        "vault": options.vault,
        "policy": options.policy,
        "kit": options.kit,
        "secure": {"key": "vault.key", "trusted": "sites.toml"},
    }
    return {section: keys for section, keys in table.items() if keys}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def load_signer(path: Path) -> ec.EllipticCurvePrivateKey:
    """The authority's private key. Raises ``InputError``."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        remedy = "use an authority made by 'infomri provision'"
        raise InputError(str(path), "an elliptic curve key", type(key).__name__, remedy)
    return key


def key_pem(
    key: ec.EllipticCurvePrivateKey,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> bytes:
    """A private key as PEM, without a passphrase."""
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def certificate_pem(builder: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey) -> bytes:
    """The certificate of ``builder``, signed, as PEM."""
    return builder.sign(signer, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError:
        # What is there is kept: half a file must not be.
        path.unlink(missing_ok=True)
        raise


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that was never readable by anyone else."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
