"""What makes a certificate that of an operator of one study."""

import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infomri_core.system.errors import InputError

UNIT = "InfoMRI operator"
_WANTED = "a certificate of an operator of this study"


def operator_subject(name: str) -> x509.Name:
    """The subject of the operator ``name``."""
    parts = ((NameOID.ORGANIZATIONAL_UNIT_NAME, UNIT), (NameOID.COMMON_NAME, name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def operator_name(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    time: datetime.datetime,
    where: str,
    remedy: str,
) -> str:
    """The name of the operator whose ``certificate`` the authority ``issuer`` issued and which is
    in force at ``time``; ``InputError`` with ``remedy`` otherwise. Revocations are not known."""
    try:
        certificate.verify_directly_issued_by(issuer)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        raise InputError(where, _WANTED, "another certificate", remedy) from None
    units = _values(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage or units != [UNIT]:
        raise InputError(where, _WANTED, "a certificate for something else", remedy)
    if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
        raise InputError(where, _WANTED, f"one that is not in force on {time:%Y-%m-%d}", remedy)
    return common_name(certificate)


def common_name(certificate: x509.Certificate) -> str:
    """The common name of a certificate; '' where it has none."""
    return "".join(_values(certificate, NameOID.COMMON_NAME)[:1])


def _values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(found.value) for found in certificate.subject.get_attributes_for_oid(oid)]
