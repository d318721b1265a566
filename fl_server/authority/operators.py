"""Operators: who may submit, stop and register, by client certificates of the study's authority.

The front proxy lets Flower's operator API through for such certificates only
(``deploy/proxy/nginx.conf``), and the ServerApp records whose key signed a submission
(:mod:`fl_server.run.submission`). A certificate is shut out by the authority's list of
revocations.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from fl_server.authority.certificates import (
    Authority,
    certificate_pem,
    key_pem,
    leaf_builder,
    load_signer,
    revocation_list,
)
from infomri_core.kits.operator_certificate import common_name, operator_name, operator_subject
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

OPERATOR_DAYS = 365
_WANTED = "a certificate of an operator of this study"


@final
@dataclass(frozen=True)
class Operator:
    """An operator's certificate and, on the operator's own machine, its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def name(self) -> str:
        """The name in the certificate."""
        return common_name(self.certificate)


def operator_files(ca: Authority, name: str) -> dict[str, bytes]:
    """A new operator's files: ``ca.crt``, ``operator.crt`` and ``operator.key``."""
    signer, key = load_signer(ca.key), ec.generate_private_key(ec.SECP384R1())
    subject = operator_subject(name)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    builder = leaf_builder(ca, signer, subject, key.public_key(), OPERATOR_DAYS, usage)
    return {
        "ca.crt": ca.certificate.read_bytes(),
        "operator.crt": certificate_pem(builder, signer),
        "operator.key": key_pem(key),
    }


def revoke(ca: Authority, certificate: x509.Certificate) -> None:
    """Put a certificate on the authority's list of revocations for good."""
    known = x509.load_pem_x509_crl(ca.revocations.read_bytes())
    serials = [entry.serial_number for entry in known]
    listed = [*serials, certificate.serial_number]
    write_atomically(ca.revocations, revocation_list(ca, list(dict.fromkeys(listed))))


def read_operator(folder: Path) -> Operator:
    """The operator whose kit was unpacked in ``folder``. Raises ``InputError``."""
    certificate, key = folder / "operator.crt", folder / "operator.key"
    remedy = "unpack the kit that `infomri provision operator` made, and name its folder"
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        got = getattr(error, "strerror", None) or "something else"
        raise InputError(str(folder), "operator.crt and operator.key", got, remedy) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise InputError(str(key), "an elliptic curve key", type(private).__name__, remedy)
    return Operator(found, private)


def check_operator(
    certificate: x509.Certificate, authority: Path, now: datetime.datetime, where: str
) -> str:
    """The name of the operator whose ``certificate`` the authority in the file ``authority``
    issued, which is in force at ``now`` and not revoked (``ca.crl`` beside it). ``InputError``."""
    issuer, revoked = _authority(authority)
    remedy = "submit with a kit that `infomri provision operator` made for this study"
    name = operator_name(certificate, issuer, now, where, remedy)
    if revoked.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        raise InputError(where, _WANTED, "one that was revoked", remedy)
    return name


def fingerprint(certificate: x509.Certificate) -> str:
    """The sha256 of a certificate, hex, as ``openssl x509 -fingerprint -sha256`` has it."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _authority(path: Path) -> tuple[x509.Certificate, x509.CertificateRevocationList]:
    try:
        issuer = x509.load_pem_x509_certificate(path.read_bytes())
        revoked = x509.load_pem_x509_crl(path.with_suffix(".crl").read_bytes())
    except (OSError, ValueError):
        remedy = "copy both from ca/ of the federation's folder"
        where = "centre.toml: [operators] authority"
        raise InputError(where, "ca.crt with ca.crl beside it", str(path), remedy) from None
    public = issuer.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or not revoked.is_signature_valid(public):
        remedy = "copy ca.crl from the folder that ca.crt is from"
        raise InputError(
            str(path.with_suffix(".crl")), "a list that ca.crt signed", "another", remedy
        )
    return issuer, revoked
