"""A site's request: its public keys, each with a proof that the site has the private one.

The private keys are made at the site and never leave it; the request travels, and who receives it
compares the fingerprints by telephone before signing a kit for it.
"""

import json
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)

from infomri_core.kits.signing import sign, signed_by
from infomri_core.secagg.trust import fingerprint
from infomri_core.system.errors import InputError
from infomri_core.system.names import SITE_NAME, is_site_name

_CONTEXT = "infomri-request-v1"
_PARTS = ("node", "vault")


@dataclass(frozen=True)
class KeyRequest:
    """The public keys of a ``site``, as OpenSSH writes them: ``node`` proves it to the study
    centre, ``vault`` to the other sites."""

    site: str
    node: str
    vault: str

    @property
    def fingerprints(self) -> dict[str, str]:
        """What to compare by telephone, by the key's name."""
        return {name: fingerprint(_key(getattr(self, name), name)) for name in _PARTS}


def private_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A fresh key, and the same as OpenSSH keeps it."""
    key = ec.generate_private_key(ec.SECP384R1())
    return key, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def public_line(key: ec.EllipticCurvePublicKey) -> str:
    """A public key as OpenSSH writes it, without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def request_of(
    site: str, node: ec.EllipticCurvePrivateKey, vault: ec.EllipticCurvePrivateKey
) -> bytes:
    """The request file of a site with these keys."""
    keys = {"node": public_line(node.public_key()), "vault": public_line(vault.public_key())}
    signed = _signed(KeyRequest(site, **keys))
    proofs = {"node": sign(node, _CONTEXT, signed), "vault": sign(vault, _CONTEXT, signed)}
    table = {"format": 1, "site": site, **keys, "proofs": proofs}
    return json.dumps(table, indent=1).encode() + b"\n"


def parse_request(data: bytes, where: str) -> KeyRequest:
    """The request in ``data``, whose proofs hold. Raises ``InputError``."""
    remedy = "have the site make it again with `infomri-client keys request`"
    try:
        table = json.loads(data)
        made = KeyRequest(*(str(table[name]) for name in ("site", *_PARTS)))
        proofs = {name: str(table["proofs"][name]) for name in _PARTS}
    except (ValueError, KeyError, TypeError):
        raise InputError(where, "a request for a kit", "something else", remedy) from None
    if not is_site_name(made.site):
        raise InputError(where, f"a site's name, {SITE_NAME}", repr(made.site[:80]), remedy)
    keys = {name: _key(getattr(made, name), f"{where}: {name}") for name in _PARTS}
    for name, key in keys.items():
        if not signed_by(key, _CONTEXT, _signed(made), proofs[name]):
            raise InputError(where, f"a proof by the {name} key", "another", remedy)
    if made.node == made.vault:
        raise InputError(where, "two different keys", "one twice", remedy)
    return made


def _signed(request: KeyRequest) -> bytes:
    return json.dumps([request.site, request.node, request.vault]).encode()


def _key(line: str, where: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_ssh_public_key(line.encode())
    except ValueError:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or line != public_line(key):
        remedy = "have the site make it again with `infomri-client keys request`"
        raise InputError(where, "an OpenSSH ECDSA public key", "something else", remedy)
    return key
