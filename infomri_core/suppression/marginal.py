"""The paper's suppression: the entropy of k-space whose points are independent."""

from typing import ClassVar, final

import torch
from torch import Tensor

from infomri_core.physics.entropy import entropy_terms
from infomri_core.physics.kspace import reflect
from infomri_core.suppression.base import Slope, Suppression


@final
class MarginalEntropy(Suppression):
    """H(Y) in nats of the sampled noisy k-space (InfoMRI, Eq. 33-37).

    The same figure as :func:`infomri_core.physics.entropy.marginal_entropy`, whose tables of
    ``variance`` (2, H, W) and ``noise_std`` are computed once.
    """

    name: ClassVar[str] = "marginal"
    unit: ClassVar[str] = "nat"

    def __init__(self, variance: Tensor, noise_std: float) -> None:
        super().__init__(variance.device)
        self._alone, self._discount = entropy_terms(variance, noise_std)
        index = torch.arange(self._alone.numel(), device=variance.device)
        self._partner = reflect(index.view(self._alone.shape)).flatten()

    def evaluate(self, masks: Tensor) -> tuple[Tensor, Slope]:
        partner = masks.flatten(1).index_select(1, self._partner).view_as(masks)
        shared = partner * self._discount
        values = (masks * (self._alone + shared)).sum((-2, -1))
        # i's own nats, and those that its partner, if sampled, then no longer adds.
        return values, lambda: self._alone + 2 * shared
