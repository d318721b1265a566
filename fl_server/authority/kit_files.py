"""What lies in a kit: a site's or an operator's files, and the zip they travel in."""

import io
import stat
import time
import zipfile
from collections.abc import Mapping

import tomli_w

from fl_server.authority.certificates import Authority, SiteOptions, load_signer, site_table
from infomri_core.kits.kit import LIST, signed_kit
from infomri_core.kits.signing import certificate_fingerprint

UNIX = 3
_KEYS = """node.key    proves you to the study centre: keep it secret (mode 0600), report its loss
vault.key   proves your vault to the other sites in secure aggregation: as secret as node.key
"""
README = """InfoMRI Federated: startup kit of {name}

ca.crt      proves the study centre at {address} to you; its sha256, to compare by telephone:
            {authority}
{keys}sites.toml  the other sites' public keys, by which your vault knows theirs: compare
            fingerprints by telephone (infomri-client plan show)
site.toml   your settings; [data] uri must name your data (docs/data.md)
kit.json, kit.sig, sites.toml.sig    the study centre's signatures, checked at every start

1. Unpack here:          unzip {name}.zip -d infomri-{name} && chmod 700 infomri-{name}
{move}2. Check the files:      infomri-client keys verify --config infomri-{name}/site.toml
3. Name your data:       edit infomri-{name}/site.toml
4. Check the machine:    infomri doctor --config infomri-{name}/site.toml
5. Join:                 infomri-client --config infomri-{name}/site.toml
6. Read and allow:       infomri-client plan list --config infomri-{name}/site.toml
                         infomri-client plan show PLAN --config infomri-{name}/site.toml
                         infomri-client plan approve PLAN --config infomri-{name}/site.toml

Nothing runs before its plan is approved here; "plan decline PLAN --why REASON" says no.
The site opens one connection outward, to {address}; nothing connects to it.
"""
_MOVE = "   and put node.key and vault.key, which you made for the request, beside the rest\n"
OPERATOR_README = """InfoMRI Federated: operator's kit of {name}

operator.crt, operator.key  let you submit, follow and stop studies: keep the key secret, mode 0600
ca.crt                      proves the study centre at {address} to you

1. Unpack here:   unzip operator-{name}.zip -d operator && chmod 700 operator
2. Look around:   infomri status --superlink {address} --operator operator
3. Submit:        infomri run plan.toml --superlink {address} --operator operator

For Flower's own command line: infomri operator connect --superlink {address} --operator operator
"""


def site_files(
    name: str, address: str, ca: Authority, keys: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files of a site's kit with the authority's signatures. ``keys``: its public keys by
    file name, and the private ones where they were made here."""
    certificate = ca.certificate.read_bytes()
    authority = certificate_fingerprint(certificate)
    policy, kit = {"approvals": "listed"}, {"authority": authority}
    table = site_table(name, SiteOptions(address, "slices:study.h5", policy=policy, kit=kit))
    about = README.format(
        name=name,
        address=address,
        authority=authority,
        keys=_KEYS if "node.key" in keys else "",
        move="" if "node.key" in keys else _MOVE,
    )
    line = " ".join(keys["vault.pub"].decode().split()[:2])
    files = {
        "README.txt": about.encode(),
        "ca.crt": certificate,
        "site.toml": tomli_w.dumps(table).encode(),
        LIST: tomli_w.dumps({"sites": {name: line}}).encode(),
        **keys,
    }
    return signed_kit(name, files, load_signer(ca.key))


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
