"""What a site says of itself first: its keys of one sum, signed by its vault's key."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from infomri_core.secagg.masking import labelled
from infomri_core.system.errors import Refused

_ALGORITHM = ec.ECDSA(SHA384())


@dataclass(frozen=True)
class Announcement:
    """``mask_key`` and ``cipher_key`` are X25519 public keys (32 bytes) for one sum only."""

    name: str
    mask_key: bytes
    cipher_key: bytes
    signature: bytes


def announce(
    name: str,
    mask_key: bytes,
    cipher_key: bytes,
    context: bytes,
    key: ec.EllipticCurvePrivateKey,
) -> Announcement:
    """An announcement for the sum that ``context`` names, signed."""
    signature = key.sign(_signed(name, mask_key, cipher_key, context), _ALGORITHM)
    return Announcement(name, mask_key, cipher_key, signature)


def verified(
    announcements: Iterable[Announcement],
    trusted: Mapping[str, ec.EllipticCurvePublicKey],
    context: bytes,
) -> dict[str, Announcement]:
    """The announcements by name, once each bears its site's signature for this very sum.

    ``trusted``: the keys that this site itself holds of the others, never the centre's word.
    Raises ``Refused("secure-aggregation")`` for an unknown site, a name that comes twice, or a
    signature that is not the site's.
    """
    known: dict[str, Announcement] = {}
    for a in announcements:
        if a.name in known:
            raise Refused("secure-aggregation", "a site is announced twice")
        if a.name not in trusted:
            why = f"the list of sites here has no {a.name[:64]!r}; every site needs the same list"
            raise Refused("secure-aggregation", why)
        try:
            signed = _signed(a.name, a.mask_key, a.cipher_key, context)
            trusted[a.name].verify(a.signature, signed, _ALGORITHM)
        except InvalidSignature:
            raise Refused("secure-aggregation", "an announcement is not its site's own") from None
        known[a.name] = a
    return known


def threshold_for(at_least: int, n_sites: int, degree: int) -> int:
    """How many shares give a secret back: a majority of those that hold one, so that no centre
    can get both secrets of a site by telling two halves different things, and ``at_least``."""
    return max(at_least, min(n_sites, degree + 1) // 2 + 1)


def neighbours(name: str, announced: Mapping[str, Announcement], degree: int) -> list[str]:
    """The sites that ``name`` masks with, in ascending order: in a ring ordered by a digest of
    all keys, the degree / 2 next on either side (Bell et al. 2020); all of them when there are no
    more than ``degree``."""
    if len(announced) - 1 <= degree:
        return sorted(set(announced) - {name})
    keys = labelled(*(announced[n].mask_key for n in sorted(announced)))
    ring = sorted(announced, key=lambda n: sha256(labelled(keys, n)).digest())
    at, half = ring.index(name), max(1, degree // 2)
    steps = [step for step in range(-half, half + 1) if step]
    return sorted({ring[(at + step) % len(ring)] for step in steps})


def _signed(name: str, mask_key: bytes, cipher_key: bytes, context: bytes) -> bytes:
    return labelled("infomri secure aggregation", context, name, mask_key, cipher_key)
