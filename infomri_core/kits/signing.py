"""Detached signatures of the study's keys: ECDSA with SHA-384 over a context and the bytes.

The context says what is signed, so that a signature of one kind of file is none of another.
"""

import base64
import binascii

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from infomri_core.system.errors import InputError

_HOW = ec.ECDSA(hashes.SHA384())


def sign(key: ec.EllipticCurvePrivateKey, context: str, data: bytes) -> str:
    """The signature of ``data`` as ``context``, base64."""
    return base64.b64encode(key.sign(_framed(context, data), _HOW)).decode("ascii")


def signed_by(key: ec.EllipticCurvePublicKey, context: str, data: bytes, signature: str) -> bool:
    """Whether ``signature`` is that of ``data`` as ``context`` by the owner of ``key``."""
    try:
        key.verify(base64.b64decode(signature, validate=True), _framed(context, data), _HOW)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def certificate_key(data: bytes, where: str) -> ec.EllipticCurvePublicKey:
    """The public key of a PEM certificate. Raises ``InputError``."""
    try:
        key = x509.load_pem_x509_certificate(data).public_key()
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        remedy = "ask the study centre for the kit again"
        raise InputError(where, "a certificate with an elliptic curve key", "none", remedy)
    return key


def certificate_fingerprint(data: bytes) -> str:
    """The sha256 of a PEM certificate, hex, as ``openssl x509 -fingerprint -sha256`` has it."""
    return x509.load_pem_x509_certificate(data).fingerprint(hashes.SHA256()).hex()


def _framed(context: str, data: bytes) -> bytes:
    return context.encode() + b"\0" + data
