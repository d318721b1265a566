"""The InfoMRI paper's attacker: a small CNN on the zero-filled image."""

from typing import final

import torch
from torch import Tensor, nn

from infomri_core.attacks.base import Style
from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.models.cnn import SmallCNN
from infomri_core.physics.kspace import zero_fill

WIDTH = 32


@final
class CNNAttack(LearnedAttack):
    """Real and imaginary part of the zero-filled image in, image out; a weak attacker."""

    name = "cnn"
    title = "the InfoMRI paper's small network"
    style = Style("#D55E00", "-.", "dashdot")
    adapt_rank = 1

    def make_network(self) -> nn.Module:
        return SmallCNN(2, WIDTH)

    def predict(self, measurement: Tensor, mask: Tensor) -> Tensor:
        image = zero_fill(measurement)
        output: Tensor = self.network(torch.stack((image.real, image.imag), dim=1))
        return output[:, 0]
