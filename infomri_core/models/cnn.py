"""The small attacker of the InfoMRI paper."""

from typing import final

from torch import Tensor, nn


@final
class SmallCNN(nn.Module):
    """Two 3x3 convolutions, (B, n_channels, H, W) to (B, 1, H, W).

    Each pixel sees a 5x5 neighbourhood of the zero-filled image: it cannot know where it stands,
    so it cannot even answer with the mean image. A weak attacker, kept for comparison.
    """

    def __init__(self, n_channels: int = 2, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@final
class PrintedCNN(nn.Module):
    """The attacker as the InfoMRI paper prints it, (B, 2, H, W) to (B, 1, H, W):
    Conv(2, 32, 3)-ReLU-Conv(32, 64, 3)-ReLU-Conv(64, 1, 1), 19,169 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found
