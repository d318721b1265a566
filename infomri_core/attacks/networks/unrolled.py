"""An unrolled network: the iterations of a sparse reconstruction, their parts learned."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from infomri_core.attacks.base import Style
from infomri_core.attacks.linear.conjugate import wiener
from infomri_core.attacks.networks.refined import REST, RefinedAttack, Refining
from infomri_core.models.unrolled import UnrolledNetwork
from infomri_core.physics.kspace import fft2c

N_INPUTS = 3
N_STAGES = 5


@final
@dataclass(frozen=True)
class UnrolledOptions(Refining):
    """As of every refined attack, at a lower learning rate."""

    learning_rate: float = 2e-3


@final
class UnrolledAttack(RefinedAttack):
    """ISTA-Net+ style (Zhang and Ghanem 2018): stages of data consistency and learned shrinkage.

    As there, the first iterate is the best linear estimate, here LMMSE. Data consistency is the
    proximal step for noise of the true level: measured points are pulled to the data as far as
    the noise warrants, in every stage and once more at the end. Each stage is given the mean
    image, the start's deviation from it and the mask beside its iterate.
    """

    name = "unrolled"
    title = "an unrolled reconstruction that improves on the linear estimate"
    style = Style("#56B4E9", "--", "dash")
    adapt_rank = 2
    options_class = UnrolledOptions

    def make_network(self) -> nn.Module:
        return UnrolledNetwork(N_INPUTS, self.n_channels, N_STAGES, REST)

    def improve(self, measurement: Tensor, mask: Tensor, start: Tensor) -> Tensor:
        def consistent(image: Tensor, rest: Tensor) -> Tensor:
            prior = rest * self.start.prior
            return wiener(measurement, mask, fft2c(image), prior, self.start.noise_std)

        mean = self.start.mean.expand_as(start)
        given = torch.stack((mean, start - mean, mask), dim=1)
        rebuilt: Tensor = self.network(start, given, consistent)
        return rebuilt
