"""A file that an operator signs, such as a privacy report: a detached signature beside it.

The certificate travels with the signature, so that ``ca.crt`` of a hospital's kit is enough to
check it. The signature covers the bytes, the file's name and the time.
"""

import datetime
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from infomri_core.kits.operator_certificate import operator_name
from infomri_core.kits.signing import certificate_key, sign, signed_by
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically

SUFFIX = ".signature"
_CONTEXT = "infomri file 1"
_WANTED = "the file as the operator signed it"
_REMEDY = "ask the study centre for the file and its .signature again"
_MOST = 1 << 20


@final
@dataclass(frozen=True)
class Signed:
    """Who signed a file, the signer's ``time`` (ISO 8601, as claimed), and the file's sha256."""

    operator: str
    time: str
    sha256: str


def sign_file(
    path: Path,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> Path:
    """Write the signature of ``path`` beside it; its path. Raises ``InputError``."""
    claim = {
        "file": path.name,
        "sha256": _sha256(path, "a file to sign", "correct the path"),
        "time": now.astimezone(datetime.UTC).isoformat(timespec="seconds"),
    }
    made = {
        "claim": claim,
        "certificate": certificate.public_bytes(Encoding.PEM).decode("ascii"),
        "signature": sign(key, _CONTEXT, _framed(claim)),
    }
    place = _place(path)
    write_atomically(place, (json.dumps(made, indent=2) + "\n").encode("ascii"))
    return place


def check_signed(path: Path, authority: Path) -> Signed:
    """Who signed ``path``, by the ``.signature`` beside it and the study's ``authority`` (the
    certificate file ``ca.crt``). Raises ``InputError`` where the file, its name, the signature or
    the certificate is another. A certificate that was revoked is not known here."""
    place = _place(path)
    claim, certificate, signature = _parsed(_read(place, "the file's signature", _REMEDY), place)
    issuer_data = _read(authority, "the study's ca.crt", "name the ca.crt of this site's kit")
    certificate_key(issuer_data, str(authority))
    issuer = x509.load_pem_x509_certificate(issuer_data)
    time = _time(claim["time"], place)
    name = operator_name(certificate, issuer, time, str(place), _REMEDY)
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not signed_by(
        key, _CONTEXT, _framed(claim), signature
    ):
        raise InputError(str(place), "a signature by its certificate's key", "another", _REMEDY)
    if path.name != claim["file"]:
        expected = f"the name that was signed, {claim['file']!r}"
        raise InputError(str(path), expected, path.name, _REMEDY)
    found = _sha256(path, _WANTED, _REMEDY)
    if found != claim["sha256"]:
        raise InputError(str(path), _WANTED, f"other bytes (sha256 {found[:16]}..)", _REMEDY)
    return Signed(name, claim["time"], found)


def _place(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _read(path: Path, expected: str, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), expected, error.strerror or "none", remedy) from None


def _sha256(path: Path, expected: str, remedy: str) -> str:
    return hashlib.sha256(_read(path, expected, remedy)).hexdigest()


def _parsed(data: bytes, place: Path) -> tuple[dict[str, str], x509.Certificate, str]:
    try:
        if len(data) > _MOST:
            raise ValueError("too large")
        made = json.loads(data)
        claim = {name: made["claim"][name] for name in ("file", "sha256", "time")}
        certificate = x509.load_pem_x509_certificate(made["certificate"].encode("ascii"))
        texts = [*claim.values(), made["signature"]]
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("not text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(str(place), "a signature", "something else", _REMEDY) from None
    return claim, certificate, made["signature"]


def _time(text: str, place: Path) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InputError(str(place), "a time with its zone", text[:40], _REMEDY)
    return found


def _framed(claim: dict[str, str]) -> bytes:
    return json.dumps(claim, sort_keys=True).encode("ascii")
