"""Whom a vault trusts to take part in secure aggregation: its own key, and the list of sites.

Both are the site's own files. The study centre relays what sites announce to each other; since
every announcement is signed, and the keys that check it stand here, it cannot take a site's place.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from infomri_core.system.config import read_toml
from infomri_core.system.errors import InputError
from infomri_core.system.names import is_site_name

_REMEDY = "the kit has one; or make one with ssh-keygen -t ecdsa -b 384 -N ''"
T = TypeVar("T")


@dataclass(frozen=True)
class Trust:
    """The key that this site's vault signs with, and all sites' public keys by name."""

    key: ec.EllipticCurvePrivateKey
    sites: Mapping[str, ec.EllipticCurvePublicKey]


def read_trust(key_file: Path | None, trusted: Path | None, name: str) -> Trust:
    """The trust of the site ``name``, whose private key is in ``key_file`` and whose list is
    ``trusted``. Raises ``InputError`` where one of them is missing or odd, or the list has another
    key for this site than its own."""
    if key_file is None or trusted is None:
        got = "none" if key_file is trusted else "one of them"
        remedy = "name the kit's vault.key and sites.toml there"
        raise InputError("site.toml: [secure]", "key and trusted", got, remedy)
    key = read_key(key_file)
    sites = read_sites(trusted)
    if name not in sites or _form(sites[name]) != _form(key.public_key()):
        got = "another one" if name in sites else "none"
        remedy = "ask who keeps the list to correct it"
        raise InputError(str(trusted), f"the public half of {key_file}", got, remedy)
    return Trust(key, sites)


def read_key(path: Path | None) -> ec.EllipticCurvePrivateKey:
    """The key that a site's vault signs with. Raises ``InputError`` where there is none."""
    if path is None:
        remedy = "name the kit's vault.key there, or one of ssh-keygen -t ecdsa -b 384 -N ''"
        raise InputError("site.toml: [secure] key", "a key to sign with", "none", remedy)
    key: ec.EllipticCurvePrivateKey = _elliptic(
        load_ssh_private_key, _bytes(path), str(path), None
    )
    return key


def read_sites(path: Path) -> dict[str, ec.EllipticCurvePublicKey]:
    """The sites of a list, ``name = "ecdsa-sha2-nistp384 ..."`` lines under ``[sites]``. Raises
    ``InputError``."""
    sites = {}
    table = read_toml(path).get("sites")
    if not isinstance(table, dict):
        raise InputError(str(path), "a table [sites]", "none", "take the list from the kit")
    for name, line in table.items():
        if not is_site_name(name) or not isinstance(line, str):
            raise InputError(str(path), "names and public keys", repr(name), "correct the list")
        sites[name] = _elliptic(load_ssh_public_key, line.encode(), f"{path}: {name}")
    if len({_form(key) for key in sites.values()}) < len(sites):
        raise InputError(str(path), "a key of its own for every site", "one twice", "correct it")
    return sites


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """As ``ssh-keygen -lf`` prints it: to be compared by telephone."""
    digest = hashlib.sha256(base64.b64decode(_form(key).split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _form(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def _elliptic(load: Any, data: bytes, where: str, *password: None) -> Any:
    try:
        key = load(data, *password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        raise InputError(where, "an OpenSSH ECDSA key", "something else", _REMEDY)
    return key


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), "a readable key", got, _REMEDY) from None
