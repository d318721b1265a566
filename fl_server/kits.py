"""A federation's folder at the study centre: authority, server certificate, kits, revocations.

    federation.toml                 the names and the port that sites dial
    ca/ca.crt, ca/ca.key            the authority
    server/server.crt, server.key   what SuperLink and reverse proxy show
    sites/NAME/node.pub, vault.pub  a site that is admitted
    sites.toml                      all sites' vault keys, by which they know each other
    kits/NAME.zip                   its startup kit; delete it once it is delivered
    revoked/NAME-FINGERPRINT.pub    a node key that is shut out
    operators/NAME.crt              who may submit; ca/ca.crl has who no longer may

A site's private key lies in its kit only: once that is delivered and deleted, nobody else has it.
"""

import datetime
import hashlib
import io
import ipaddress
import shutil
import stat
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import tomli_w
from cryptography import x509

from fl_server.introductions import LIST, list_of
from fl_server.operators import operator_files, revoke
from fl_server.provision import (
    LOOPBACK,
    Authority,
    ServerCertificate,
    SiteOptions,
    authority,
    server_certificate,
    site_kit,
)
from infomri_core.errors import InputError
from infomri_core.files import write_atomically

UNIX = 3
RENEW_WITHIN = datetime.timedelta(days=30)
README = """InfoMRI Federated: startup kit of {name}

ca.crt      proves the study centre at {address} to you
node.key    proves you to the study centre: keep it secret, mode 0600, and tell them if it is lost
vault.key   proves your vault to the other sites in secure aggregation: as secret as node.key
sites.toml  the other sites' public keys, by which your vault knows theirs: compare fingerprints by
            telephone; to trust nobody with your key, make one (ssh-keygen -t ecdsa -b 384 -N '')
            and give its public half to all
site.toml   your settings; [data] uri must name your data (docs/data.md)

1. Unpack here:          unzip {name}.zip -d infomri-{name} && chmod 700 infomri-{name}
2. Name your data:       edit infomri-{name}/site.toml
3. Check the machine:    infomri doctor --config infomri-{name}/site.toml
4. Join:                 infomri-client --config infomri-{name}/site.toml

The site opens one connection outward, to {address}; nothing connects to it.
"""
OPERATOR_README = """InfoMRI Federated: operator's kit of {name}

operator.crt, operator.key  let you submit, follow and stop studies: keep the key secret, mode 0600
ca.crt                      proves the study centre at {address} to you

1. Unpack here:   unzip operator-{name}.zip -d operator && chmod 700 operator
2. Look around:   infomri status --superlink {address} --operator operator
3. Submit:        infomri run plan.toml --superlink {address} --operator operator

For Flower's own command line: infomri operator connect --superlink {address} --operator operator
"""


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
        """Make a kit for a site unless it has one; whether one was made.

        Raises ``InputError`` for a name that cannot be a file's.
        """
        _check_name(name)
        folder, kit = self.path / "sites" / name, self.path / "kits" / f"{name}.zip"
        if (folder / "node.pub").exists():
            return False
        ca, (hosts, port) = self.authority, self.door
        address = f"{hosts[0]}:{port}"
        with tempfile.TemporaryDirectory(dir=self.path) as fresh:
            options = SiteOptions(address, "slices:study.h5", policy={"approvals": "listed"})
            made = site_kit(Path(fresh) / name, name, ca, options)
            readme = made.folder / "README.txt"
            readme.write_text(README.format(name=name, address=address), encoding="utf-8")
            sites = made.folder / LIST
            sites.write_bytes(list_of({name: made.vault_public_key}))
            keys = (made.node_key, made.vault_key)
            files = (readme, made.folder / "ca.crt", *keys, sites, made.settings)
            write_atomically(kit, packed({file.name: file.read_bytes() for file in files}))
            write_atomically(folder / "vault.pub", made.vault_public_key.read_bytes())
            write_atomically(folder / "node.pub", made.public_key.read_bytes())
        return True

    def add_operator(self, name: str) -> bool:
        """Make a kit for an operator unless there is one of that name; whether one was made. The
        private key lies in the kit only. Raises ``InputError`` for a name that is no file's."""
        _check_name(name)
        place = self.path / "operators" / f"{name}.crt"
        if place.exists():
            return False
        files = operator_files(self.authority, name)
        hosts, port = self.door
        about = OPERATOR_README.format(name=name, address=f"{hosts[0]}:{port}")
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
        path = self.path / LIST
        before = path.read_bytes() if path.exists() else b""
        if text == before:
            return []
        write_atomically(path, text)
        for kit in (self.path / "kits" / f"{name}.zip" for name in self.sites):
            if not kit.exists():
                continue
            with zipfile.ZipFile(kit) as archive:
                files = {entry: archive.read(entry) for entry in archive.namelist()}
            write_atomically(kit, packed(files | {LIST: text}))
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


def packed(files: Mapping[str, bytes]) -> bytes:
    """A zip whose entries have the mode of a private file, 0600, whatever the umask was."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, time.localtime()[:6])
            entry.create_system = UNIX
            entry.external_attr = (stat.S_IFREG | 0o600) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


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
    plain = all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)
    if not (name and name[0].isalnum() and plain and len(name) <= 64):
        raise InputError("--sites", "letters, digits, - _ . for a name", repr(name), "rename it")
