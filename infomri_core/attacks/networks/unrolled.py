"""An unrolled network: the iterations of a sparse reconstruction, their parts learned."""

from typing import final

import torch
from torch import Tensor, nn

from infomri_core.attacks.linear.conjugate import wiener
from infomri_core.attacks.networks.refined import REST, RefinedAttack
from infomri_core.models.unrolled import UnrolledNetwork
from infomri_core.physics.kspace import fft2c

N_INPUTS = 3
N_STAGES = 5


@final
class UnrolledAttack(RefinedAttack):
    """ISTA-Net+ style (Zhang and Ghanem 2018): stages of data consistency and learned shrinkage.

    As there, the first iterate is the best linear estimate, here LMMSE. Data consistency is the
    proximal step for noise of the true level: measured points are pulled to the data as far as
    the noise warrants, in every stage and once more at the end. Each stage is given the mean
    image, the start's deviation from it and the mask beside its iterate.
    """

    name = "unrolled"

    def __init__(
        self,
        shape: tuple[int, int],
        n_steps: int = 400,
        batch_size: int = 16,
        learning_rate: float = 2e-3,
        width: int = 16,
    ) -> None:
        super().__init__(shape, n_steps, batch_size, learning_rate, width)

    def make_network(self) -> nn.Module:
        return UnrolledNetwork(N_INPUTS, self._n_channels, N_STAGES, REST)

    def improve(self, measurement: Tensor, mask: Tensor, start: Tensor) -> Tensor:
        def consistent(image: Tensor, rest: Tensor) -> Tensor:
            prior = rest * self.start.prior
            return wiener(measurement, mask, fft2c(image), prior, self.start.noise_std)

        mean = self.start.mean.expand_as(start)
        given = torch.stack((mean, start - mean, mask), dim=1)
        rebuilt: Tensor = self.network(start, given, consistent)
        return rebuilt
