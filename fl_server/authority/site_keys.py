"""Who is who among the sites: the list by which vaults know each other's announcements.

Secure aggregation must not rest on the study centre's word. Each site therefore holds a list of
all sites' public vault keys, ``sites.toml``, which comes with its kit and which the sites may
compare by telephone (``infomri-client plan show`` prints the fingerprints).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tomli_w

from fl_server.authority.certificates import SiteKit
from infomri_core.system.files import write_atomically

LIST = "sites.toml"


def list_of(public_keys: Mapping[str, Path]) -> bytes:
    """The list of these OpenSSH public key files by their sites' names."""
    sites = {name: " ".join(key.read_text().split()[:2]) for name, key in public_keys.items()}
    return tomli_w.dumps({"sites": dict(sorted(sites.items()))}).encode()


def write_site_lists(kits: Sequence[SiteKit]) -> None:
    """Write the list of all these sites into each one's kit."""
    text = list_of({kit.name: kit.vault_public_key for kit in kits})
    for kit in kits:
        write_atomically(kit.folder / LIST, text)
