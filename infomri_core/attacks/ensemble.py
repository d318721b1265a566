"""The average of other attacks' images."""

from collections.abc import Mapping, Sequence
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.base import Attack, Style
from infomri_core.system.errors import InputError

MAX_MEMBERS = 32


@final
class Ensemble(Attack):
    """Errors that attacks do not share average out: often stronger than each of them.

    It has nothing of its own but the names of its members. What travels is one array a member,
    named after it; where attacks are rebuilt from arrays, :meth:`bind` finds the members again.
    """

    name = "ensemble"
    title = "the mean of the other attacks' images"
    style = Style("#000000", ":", "dot")

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.members: tuple[str, ...] = ()
        self._bound: dict[str, Attack] = {}

    def bind(self, attacks: Mapping[str, Attack], members: Sequence[str] | None = None) -> Self:
        """Take ``members`` (those loaded, if None) out of fitted ``attacks``; returns itself.

        Raises ``InputError`` when there are none, or one that ``attacks`` does not have.
        """
        names = self.members if members is None else tuple(members)
        if not names or not set(names) <= set(attacks) - {self.name}:
            remedy = "fit its members in the same study"
            raise InputError("attack 'ensemble'", "fitted members", str(names), remedy)
        self.members = names
        # A plain dictionary, not a module's child: the members' arrays are not this attack's.
        self._bound = {name: attacks[name] for name in names}
        return self

    def fit(self, audit_set: AuditSet) -> Self:
        """Nothing to learn: the members are fitted on their own, then bound."""
        return self

    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        return self.combine({n: a.reconstruct(measurement, mask) for n, a in self._bound.items()})

    def combine(self, images: Mapping[str, Tensor]) -> Tensor:
        """The mean (B, H, W) of the members' images, given by name."""
        return torch.stack([images[name] for name in self.members]).mean(0)

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {name: np.ones(1, np.float32) for name in self.members}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Self:
        well_formed = all(
            a.dtype == np.float32 and a.shape == (1,) and a[0] == 1 for a in arrays.values()
        )
        if not 1 <= len(arrays) <= MAX_MEMBERS or not well_formed:
            expected = f"1 .. {MAX_MEMBERS} members, each with a float32 one"
            raise InputError("attack 'ensemble'", expected, str(sorted(arrays)), "fit it again")
        self.members = tuple(arrays)
        return self
