"""The InfoMRI paper's attacker: a small CNN on the zero-filled image."""

from typing import final

import torch
from torch import Tensor, nn

from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.models.cnn import SmallCNN
from infomri_core.physics.kspace import zero_fill

WIDTH = 32


@final
class CNNAttack(LearnedAttack):
    """Real and imaginary part of the zero-filled image in, image out; a weak attacker."""

    name = "cnn"

    def __init__(
        self,
        shape: tuple[int, int],
        n_steps: int = 400,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
    ) -> None:
        super().__init__(shape, n_steps, batch_size, learning_rate)

    def make_network(self) -> nn.Module:
        return SmallCNN(2, WIDTH)

    def predict(self, measurement: Tensor, mask: Tensor) -> Tensor:
        image = zero_fill(measurement)
        output: Tensor = self.network(torch.stack((image.real, image.imag), dim=1))
        return output[:, 0]
