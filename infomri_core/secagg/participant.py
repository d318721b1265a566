"""A site's side of one round of secure aggregation: four steps, each taken once, in order."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from infomri_core.secagg import shamir
from infomri_core.secagg.announcement import Announcement, announce, neighbours, verified
from infomri_core.secagg.masking import (
    add_mask,
    agree,
    labelled,
    pair_purpose,
    pair_sign,
    public_of,
)
from infomri_core.system.errors import Refused

DEGREE = 40
_NONCE = bytes(12)


@dataclass(frozen=True)
class Unmasking:
    """Shares by the name of the site whose secret they are of: of the seeds of those that
    delivered, of the mask keys of those that did not."""

    seeds: Mapping[str, bytes]
    mask_keys: Mapping[str, bytes]


@final
class Participant:
    """One site in one sum. ``context`` names plan and sum and is the same at all sites; ``key``
    signs for this site, and ``trusted`` holds the public keys of all sites, this one's too.

    Every step raises ``Refused("secure-aggregation")`` rather than go on with what is wrong.
    """

    def __init__(
        self,
        name: str,
        context: bytes,
        key: ec.EllipticCurvePrivateKey,
        trusted: Mapping[str, ec.EllipticCurvePublicKey],
        degree: int = DEGREE,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.name = name
        self._context = context
        self._trusted = trusted
        self._degree = degree
        self._random = random
        self._mask_key, self._cipher_key, self._seed = (random(32) for _ in range(3))
        keys = public_of(self._mask_key), public_of(self._cipher_key)
        self.announcement = announce(name, *keys, context, key)
        self._announced: dict[str, Announcement] = {}
        self._neighbours: list[str] = []
        self._held: dict[str, tuple[bytes, bytes]] = {}
        self._fewest = 0
        self._done = 0

    @property
    def ready(self) -> bool:
        """Whether :meth:`mask` is the next step."""
        return self._done == 1

    @property
    def neighbours(self) -> list[str]:
        """The sites that this one masks with, once it has shared."""
        return self._neighbours

    def share(
        self, announcements: Iterable[Announcement], threshold: int, fewest: int = 0
    ) -> dict[str, bytes]:
        """Encrypted shares of this site's secrets, by the neighbour they are for: ``threshold`` of
        them give a secret back. No sum of fewer sites than ``fewest`` is helped to."""
        announced = verified(announcements, self._trusted, self._context)
        _need(announced.get(self.name) == self.announcement, "this site is not announced as it is")
        around = neighbours(self.name, announced, self._degree)
        n = len(around) + 1
        _need(1 < threshold <= n, f"{n} sites cannot reach a threshold of {threshold}")
        _need(2 * threshold > n, f"a threshold of {threshold} is no majority of {n} sites")
        self._step(0)
        self._announced, self._neighbours = announced, around
        self._fewest = max(threshold, min(fewest, n))
        holders = sorted([*around, self.name])
        secrets_of = [
            shamir.split(secret, n, threshold, self._random)
            for secret in (self._seed, self._mask_key)
        ]
        shares = {name: (a, b) for name, a, b in zip(holders, *secrets_of, strict=True)}
        self._held[self.name] = shares.pop(self.name)
        return {name: self._sealed(name, a + b) for name, (a, b) in shares.items()}

    def mask(
        self, vector: np.ndarray, inbox: Mapping[str, bytes], binding: bytes = b""
    ) -> np.ndarray:
        """Uint64 (n,) ``vector`` with all masks added, modulo 2^64; ``inbox``: what the others'
        :meth:`share` gave for this site, by sender. Who sent nothing takes no part.

        ``binding`` is what this site was asked: masks cancel only among sites that were asked
        the same. So a centre that sends one site other weights than the rest, in order to tell
        its update from theirs (Pasquini et al. 2022), gets noise.
        """
        held = {sender: self._opened(sender, data) for sender, data in inbox.items()}
        _need(len(held) + 1 >= self._fewest, "too few sites take part")
        self._step(1)
        self._held |= held
        masked = vector.astype(np.uint64)
        add_mask(masked, self._seed, 1)
        for other in held:
            purpose = pair_purpose(self._context, binding, self.name, other)
            seed = agree(self._mask_key, self._announced[other].mask_key, purpose)
            add_mask(masked, seed, pair_sign(self.name, other))
        return masked

    def unmask(self, delivered: Iterable[str]) -> Unmasking:
        """Shares for the centre, given who ``delivered`` a masked vector."""
        present = set(delivered) & set(self._held)
        _need(self.name in present, "this site's vector is said to be missing")
        _need(len(present) >= self._fewest, "too few sites delivered")
        self._step(2)
        return Unmasking(
            {name: self._held[name][0] for name in sorted(present)},
            {name: self._held[name][1] for name in sorted(set(self._held) - present)},
        )

    def _step(self, number: int) -> None:
        _need(self._done == number, "a step out of order, or taken again")
        self._done += 1

    def _sealed(self, recipient: str, data: bytes) -> bytes:
        public = self._announced[recipient].cipher_key
        purpose = labelled("infomri share", self._context, self.name, recipient)
        key = agree(self._cipher_key, public, purpose)
        return ChaCha20Poly1305(key).encrypt(_NONCE, data, None)

    def _opened(self, sender: str, data: bytes) -> tuple[bytes, bytes]:
        _need(sender in self._neighbours, "shares of a site that is no neighbour")
        purpose = labelled("infomri share", self._context, sender, self.name)
        key = agree(self._cipher_key, self._announced[sender].cipher_key, purpose)
        try:
            shares = ChaCha20Poly1305(key).decrypt(_NONCE, data, None)
        except InvalidTag:
            raise Refused("secure-aggregation", "shares that were altered on the way") from None
        half = len(shares) // 2
        return shares[:half], shares[half:]


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused("secure-aggregation", otherwise)
