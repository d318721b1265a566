"""A federation's folder at the study centre: authority, server certificate, kits, revocations.

    federation.toml                 the names and the port that sites dial
    ca/ca.crt, ca/ca.key            the authority
    server/server.crt, server.key   what SuperLink and reverse proxy show
    sites/NAME/node.pub, vault.pub  a site that is admitted
    sites.toml                      all sites' vault keys, by which they know each other
    sites.toml.sig                  the authority's signature of that list
    kits/NAME.zip                   its startup kit, signed; delete it once it is delivered
    revoked/NAME-FINGERPRINT.pub    a node key that is shut out
    operators/NAME.crt              who may submit; ca/ca.crl has who no longer may

A site makes its own keys and sends a request (:meth:`FederationFolder.admit_site`). In the
one-step way of a demonstration (:meth:`FederationFolder.add_site`) its private keys are made here
and lie in its kit only: once that is delivered and deleted, no one else has them.
"""

import datetime
import hashlib
import ipaddress
import shutil
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import tomli_w
from cryptography import x509

from fl_server.authority.certificates import (
    LOOPBACK,
    Authority,
    ServerCertificate,
    SiteOptions,
    authority,
    load_signer,
    server_certificate,
    site_kit,
)
from fl_server.authority.kit_files import OPERATOR_README, packed, site_files
from fl_server.authority.operators import operator_files, revoke
from fl_server.authority.site_keys import LIST, list_of
from infomri_core.kits.key_request import KeyRequest
from infomri_core.kits.kit import LIST_SIGNATURE, list_signature
from infomri_core.system.errors import InputError
from infomri_core.system.files import write_atomically
from infomri_core.system.names import SITE_NAME, is_site_name

RENEW_WITHIN = datetime.timedelta(days=30)


@final
@dataclass(frozen=True)
class FederationFolder:
    """The folder of a federation; safe to fill again: what is there is kept."""

    path: Path

    @property
    def authority(self) -> Authority:
        """The authority; made the first time."""
        return authority(self.path / "ca")

    @property
    def sites(self) -> dict[str, Path]:
        """Public node keys of the admitted sites, by name."""
        return {key.parent.name: key for key in sorted(self.path.glob("sites/*/node.pub"))}

    @property
    def revoked(self) -> list[Path]:
        """Public node keys that are shut out."""
        return sorted((self.path / "revoked").glob("*.pub"))

    @property
    def door(self) -> tuple[list[str], int]:
        """Names and port that sites dial. ``InputError`` before :meth:`open_door`."""
        try:
            table = tomllib.loads((self.path / "federation.toml").read_text(encoding="utf-8"))
            return list(table["hosts"]), int(table["port"])
        except FileNotFoundError:
            remedy = "give --server HOST the first time, or --out the folder it made"
            raise InputError(str(self.path), "a federation's folder", "none", remedy) from None

    def open_door(self, hosts: Sequence[str], port: int) -> None:
        """Record the names and the port that sites dial, for kits made later."""
        table = tomli_w.dumps({"hosts": list(hosts), "port": port})
        write_atomically(self.path / "federation.toml", table.encode())

    def ensure_server(self, hosts: Sequence[str]) -> bool:
        """Make the server certificate for ``hosts`` and loopback unless one stands that names
        them all and lasts another 30 days; whether one was made."""
        names = list(dict.fromkeys([*hosts, *LOOPBACK]))
        folder = self.path / "server"
        made = ServerCertificate(folder / "server.crt", folder / "server.key")
        if made.key.exists() and _serves(made.certificate, names):
            return False
        with tempfile.TemporaryDirectory(dir=self.path) as fresh:
            renewed = server_certificate(self.authority, Path(fresh) / "server", names)
            folder.mkdir(mode=0o700, exist_ok=True)
            renewed.key.replace(made.key)
            renewed.certificate.replace(made.certificate)
        return True

    def add_site(self, name: str) -> bool:
        """Make a kit for a site, its private keys included, unless it has one; whether one was
        made. Raises ``InputError`` for a name that cannot be a file's."""
        _check_name(name)
        if name in self.sites:
            return False
        with tempfile.TemporaryDirectory(dir=self.path) as fresh:
            options = SiteOptions(self._address, "", policy={})
            made = site_kit(Path(fresh) / name, name, self.authority, options)
            public = (made.public_key, made.vault_public_key)
            private = (made.node_key, made.vault_key)
            keys = {path.name: path.read_bytes() for path in (*public, *private)}
        self._deliver(name, keys)
        return True

    def admit_site(self, request: KeyRequest) -> bool:
        """Make a kit without private keys for the site that made ``request``; whether one was
        made. Raises ``InputError`` where the site's name is another key's."""
        _check_name(request.site)
        lines = {"node.pub": request.node, "vault.pub": request.vault}
        keys = {name: f"{line} {request.site}\n".encode() for name, line in lines.items()}
        known = self.sites.get(request.site)
        if known is not None:
            if known.read_bytes().split()[:2] == keys["node.pub"].split()[:2]:
                return False
            remedy = "let it take another name, or revoke the former key first"
            raise InputError(request.site, "a site that is new", "one with other keys", remedy)
        self._deliver(request.site, keys)
        return True

    @property
    def _address(self) -> str:
        hosts, port = self.door
        return f"{hosts[0]}:{port}"

    def _deliver(self, name: str, keys: Mapping[str, bytes]) -> None:
        """The zip of a site's kit, signed, and the site's public keys here."""
        ca = self.authority
        files = site_files(name, self._address, ca, keys)
        write_atomically(self.path / "kits" / f"{name}.zip", packed(files))
        for public in ("vault.pub", "node.pub"):
            write_atomically(self.path / "sites" / name / public, keys[public])

    def add_operator(self, name: str) -> bool:
        """Make a kit for an operator unless there is one of that name; whether one was made. The
        private key lies in the kit only. Raises ``InputError`` for a name that is no file's."""
        _check_name(name)
        place = self.path / "operators" / f"{name}.crt"
        if place.exists():
            return False
        files = operator_files(self.authority, name)
        about = OPERATOR_README.format(name=name, address=self._address)
        kit = self.path / "kits" / f"operator-{name}.zip"
        write_atomically(kit, packed({"README.txt": about.encode(), **files}))
        write_atomically(place, files["operator.crt"])
        return True

    def revoke_operator(self, name: str) -> None:
        """Put an operator's certificate on the list of revocations and delete the kit. Raises
        ``InputError`` for an unknown operator."""
        place = self.path / "operators" / f"{name}.crt"
        if not place.exists():
            known = ", ".join(sorted(p.stem for p in place.parent.glob("*.crt"))) or "no operator"
            raise InputError(
                "--revoke-operator", f"one of {known}", repr(name), "correct the name"
            )
        revoke(self.authority, x509.load_pem_x509_certificate(place.read_bytes()))
        place.unlink()
        (self.path / "kits" / f"operator-{name}.zip").unlink(missing_ok=True)

    def introduce_sites(self) -> list[str]:
        """Bring the list of all sites' vault keys up to date, here and in the kits that are still
        here. Names of the sites that had another list before and must be given this one."""
        keys = {name: key.parent / "vault.pub" for name, key in self.sites.items()}
        text = list_of({name: key for name, key in keys.items() if key.exists()})
        path, sealed = self.path / LIST, self.path / LIST_SIGNATURE
        before = path.read_bytes() if path.exists() else b""
        if text == before and sealed.exists():
            return []
        signature = list_signature(text, load_signer(self.authority.key))
        write_atomically(path, text)
        write_atomically(sealed, signature)
        for kit in (self.path / "kits" / f"{name}.zip" for name in self.sites):
            if not kit.exists():
                continue
            with zipfile.ZipFile(kit) as archive:
                files = {entry: archive.read(entry) for entry in archive.namelist()}
            write_atomically(kit, packed(files | {LIST: text, LIST_SIGNATURE: signature}))
        if text == before:
            return []
        known = tomllib.loads(before.decode()).get("sites", {})
        return [name for name in self.sites if name in known]

    def revoke_site(self, name: str) -> Path:
        """Move a site's key to the revoked ones and delete its kit; the key's new place.

        The SuperLink learns of it by ``infomri provision --register``. A kit made later under
        the same name has another key. Raises ``InputError`` for an unknown site.
        """
        key = self.sites.get(name)
        if key is None:
            known = ", ".join(self.sites) or "no site"
            raise InputError("--revoke-site", f"one of {known}", repr(name), "correct the name")
        fingerprint = hashlib.sha256(key.read_bytes()).hexdigest()[:12]
        place = self.path / "revoked" / f"{name}-{fingerprint}.pub"
        place.parent.mkdir(mode=0o700, exist_ok=True)
        key.replace(place)
        shutil.rmtree(key.parent)
        (self.path / "kits" / f"{name}.zip").unlink(missing_ok=True)
        return place


def _serves(certificate: Path, hosts: Sequence[str]) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    present = {str(name.value) for name in names}
    lasts = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > RENEW_WITHIN
    return lasts and {_canonical(host) for host in hosts} <= present


def _canonical(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _check_name(name: str) -> None:
    if not is_site_name(name):
        got = f"{name!r}, {len(name)} characters"
        raise InputError("--sites", f"names of {SITE_NAME}", got, "rename it")
