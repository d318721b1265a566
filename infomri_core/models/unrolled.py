"""A proximal gradient method unrolled into a network of a fixed number of stages."""

import math
from collections.abc import Callable
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

Consistency = Callable[[Tensor, Tensor], Tensor]
"""Images (B, H, W), and the variance they are left with relative to the prior's, to images that
agree with the measured data."""


def _convolutions(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.Conv2d(n_out, n_out, 3, padding=1)
    )


@final
class _Shrinkage(nn.Module):
    """x + G S'(soft(S D(x, given), threshold)): shrinkage between learned transforms.

    Pixels are folded 2x2 into channels, which costs a quarter. G starts at zero: an untrained
    stage changes nothing.
    """

    def __init__(self, n_inputs: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4 * (1 + n_inputs), width, 3, padding=1)
        self.transform = _convolutions(width, width)
        self.back = _convolutions(width, width)
        self.leave = nn.Conv2d(width, 4, 3, padding=1)
        self.log_threshold = nn.Parameter(torch.full((width, 1, 1), math.log(0.01)))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(cast(Tensor, self.leave.bias))

    def forward(self, image: Tensor, given: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = torch.cat((image[:, None], given), dim=1)
        x = functional.pixel_unshuffle(functional.pad(x, (0, width % 2, 0, height % 2)), 2)
        features = self.enter(x)
        sparse = self.transform(features)
        sparse = sparse.sign() * functional.relu(sparse.abs() - self.log_threshold.exp())
        change = functional.pixel_shuffle(self.leave(features + self.back(sparse)), 2)
        return image + change[:, 0, :height, :width]


@final
class UnrolledNetwork(nn.Module):
    """``n_stages`` times data consistency and learned shrinkage, then data consistency.

    ``rest`` is where the relative variance that each data step is given starts; it is learned.
    """

    def __init__(self, n_inputs: int, width: int, n_stages: int, rest: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_Shrinkage(n_inputs, width) for _ in range(n_stages))
        self.log_rests = nn.Parameter(torch.full((n_stages + 1,), math.log(rest)))

    def forward(self, start: Tensor, given: Tensor, consistent: Consistency) -> Tensor:
        """Images (B, H, W) from a first iterate (B, H, W) and constant inputs (B, C, H, W)."""
        image = start
        rests = self.log_rests.exp()
        for stage, rest in zip(self.stages, rests):
            image = stage(consistent(image, rest), given)
        return consistent(image, rests[-1])
