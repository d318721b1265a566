"""The study centre's side of one round of secure aggregation: add, and unmask the sum."""

from collections.abc import Iterable, Mapping
from typing import final

import numpy as np

from infomri_core.secagg import shamir
from infomri_core.secagg.announcement import Announcement, neighbours
from infomri_core.secagg.masking import add_mask, agree, pair_purpose, pair_sign, public_of
from infomri_core.secagg.participant import DEGREE, Unmasking
from infomri_core.system.errors import Refused


@final
class Collector:
    """Sums masked vectors, uint64 (n,), as they arrive: one vector of memory for all sites.

    ``sharing``: the sites whose shares were passed on; the others mask with these alone.
    ``binding``: what the sites were asked, as they gave it to ``Participant.mask``.
    """

    def __init__(
        self,
        n: int,
        context: bytes,
        threshold: int,
        announcements: Iterable[Announcement],
        sharing: Iterable[str],
        degree: int = DEGREE,
        binding: bytes = b"",
    ) -> None:
        self._context = context
        self._binding = binding
        self._threshold = threshold
        self._announced = {a.name: a for a in announcements}
        self._around = {
            name: neighbours(name, self._announced, degree) for name in self._announced
        }
        self._sharing = set(sharing)
        self._sum = np.zeros(n, dtype=np.uint64)
        self._delivered: set[str] = set()

    @property
    def delivered(self) -> list[str]:
        """Sites whose vectors are in the sum, in ascending order."""
        return sorted(self._delivered)

    def add(self, name: str, masked: np.ndarray) -> None:
        """Add a site's masked vector. Raises ``Refused`` for a site that did not share, that
        delivered already, or a vector of another form."""
        proper = masked.dtype == np.uint64 and masked.shape == self._sum.shape
        if name not in self._sharing or name in self._delivered or not proper:
            raise Refused("secure-aggregation", "a masked vector that was not asked for")
        self._sum += masked
        self._delivered.add(name)

    def enough(self, unmaskings: Mapping[str, Unmasking]) -> bool:
        """Whether these answers hold the threshold's number of shares of every secret that
        :meth:`total` needs."""
        return all(len(held) >= self._threshold for held in self._needed(unmaskings).values())

    def total(self, unmaskings: Mapping[str, Unmasking]) -> np.ndarray:
        """The sum of the delivered vectors without masks, uint64 (n,); ``unmaskings`` by the site
        that sent them.

        Raises ``Refused("secure-aggregation")`` when fewer than the threshold hold a secret that
        is needed, or their shares do not give it.
        """
        total = self._sum.copy()
        for name, points in self._needed(unmaskings).items():
            secret = self._secret(name, points)
            if name in self._delivered:
                add_mask(total, secret, -1)
            else:
                self._remove_pairs(total, name, secret, self._witnesses(name))
        return total

    def _needed(self, unmaskings: Mapping[str, Unmasking]) -> dict[str, dict[int, bytes]]:
        """By the name of each site with masks in the sum, the shares of the secret that undoes
        them: of the seed where it delivered, of the mask key where it did not."""
        needed = {}
        for name in sorted(self._sharing):
            if name in self._delivered:
                held = {u: answer.seeds.get(name) for u, answer in unmaskings.items()}
            elif self._witnesses(name):
                held = {u: answer.mask_keys.get(name) for u, answer in unmaskings.items()}
            else:
                continue
            needed[name] = self._points(name, held)
        return needed

    def _witnesses(self, name: str) -> list[str]:
        """Sites that delivered and masked with ``name``."""
        return [u for u in self._around[name] if u in self._delivered]

    def _remove_pairs(
        self, total: np.ndarray, dropped: str, key: bytes, witnesses: Iterable[str]
    ) -> None:
        if public_of(key) != self._announced[dropped].mask_key:
            raise Refused("secure-aggregation", f"the shares of {dropped} are not of its key")
        for other in witnesses:
            purpose = pair_purpose(self._context, self._binding, dropped, other)
            seed = agree(key, self._announced[other].mask_key, purpose)
            add_mask(total, seed, -pair_sign(other, dropped))

    def _points(self, name: str, held: Mapping[str, bytes | None]) -> dict[int, bytes]:
        """The shares of ``name``'s secret by their point, of those who may hold one."""
        holders = sorted([*self._around[name], name])
        return {
            holders.index(holder) + 1: share
            for holder, share in sorted(held.items())
            if share is not None and holder in holders
        }

    def _secret(self, name: str, points: Mapping[int, bytes]) -> bytes:
        if len(points) < self._threshold:
            got = f"{len(points)} of {self._threshold} needed sites hold a share of {name}"
            raise Refused("secure-aggregation", got)
        try:
            return shamir.join(dict(list(points.items())[: self._threshold]))
        except ValueError:
            raise Refused("secure-aggregation", f"the shares of {name} do not fit") from None
