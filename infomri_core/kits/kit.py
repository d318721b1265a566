"""A site's startup kit: every file signed by the study's authority, and checked file by file.

``kit.json`` names the site and the sha256 of each file; ``kit.sig`` is the authority's signature
of it. The list of all sites changes when a site joins, so it has a signature of its own. What
``site.toml`` pins, the sha256 of ``ca.crt``, is what the hospital compares by telephone.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from infomri_core.kits.signing import certificate_fingerprint, certificate_key, sign, signed_by
from infomri_core.system.errors import InputError

AUTHORITY, MANIFEST, SIGNATURE = "ca.crt", "kit.json", "kit.sig"
LIST, LIST_SIGNATURE = "sites.toml", "sites.toml.sig"
SETTINGS = "site.toml"
_KIT, _SITES = "infomri-kit-v1", "infomri-sites-v1"
_REMEDY = (
    "restore it from the kit, or ask the study centre for another; a file that this hospital "
    "replaced on purpose is named in [kit] own"
)


def signed_kit(
    site: str, files: Mapping[str, bytes], key: ec.EllipticCurvePrivateKey
) -> dict[str, bytes]:
    """``files`` of a kit with manifest and signatures, by the authority's ``key``."""
    sums = {name: _sha256(data) for name, data in sorted(files.items()) if name != LIST}
    manifest = json.dumps({"format": 1, "site": site, "files": sums}, indent=1).encode()
    made = {**files, MANIFEST: manifest, SIGNATURE: sign(key, _KIT, manifest).encode()}
    return made | ({LIST_SIGNATURE: list_signature(files[LIST], key)} if LIST in files else {})


def list_signature(data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The authority's signature of the list of all sites."""
    return sign(key, _SITES, data).encode()


def check_kit(folder: Path, site: str, authority: str, own: Collection[str]) -> int:
    """Hold every file of the kit in ``folder`` against its signature; how many were checked.

    ``authority``: the sha256 of the certificate that signed, hex; ``own``: files that the
    hospital made its own. Raises ``InputError`` that names the first file that is not as the
    authority signed it.
    """
    read = _reader(folder)
    certificate = read(AUTHORITY)
    key = certificate_key(certificate, str(folder / AUTHORITY))
    if certificate_fingerprint(certificate) != authority.lower().replace(":", ""):
        raise _changed(folder / AUTHORITY, "the certificate that [kit] authority names")
    manifest = read(MANIFEST)
    if not signed_by(key, _KIT, manifest, read(SIGNATURE).decode("ascii", "replace")):
        raise _changed(folder / MANIFEST, "a manifest that ca.crt signed")
    sums = _sums(manifest, site, folder / MANIFEST)
    checked = [name for name in sums if name not in own]
    for name in checked:
        if _sha256(read(name)) != sums[name]:
            raise _changed(folder / name, "the file as the study centre signed it")
    if LIST not in own:
        signature = read(LIST_SIGNATURE).decode("ascii", "replace")
        if not signed_by(key, _SITES, read(LIST), signature):
            raise _changed(folder / LIST, "the list of sites as the study centre signed it")
        checked.append(LIST)
    return len(checked)


def _sums(manifest: bytes, site: str, where: Path) -> dict[str, str]:
    """File names and sums of a manifest that was signed, for this ``site``."""
    table: dict[str, Any] = json.loads(manifest)
    if table["site"] != site:
        remedy = "use the kit of this site; [site] name must stay as it came"
        raise InputError(str(where), f"the kit of site {site}", f"that of {table['site']}", remedy)
    return dict(table["files"])


def _reader(folder: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            got = error.strerror or type(error).__name__
            raise InputError(str(folder / name), "a file of the kit", got, _REMEDY) from None

    return read


def _changed(path: Path, expected: str) -> InputError:
    return InputError(str(path), expected, "something else", _REMEDY)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
