"""ResNet18 (He et al. 2016) for small multi-channel images, safe for per-sample gradients.

No operation works in place and residuals are added out of place, which Opacus's hooks need.
"""

from typing import final

import torch
from torch import nn
from torch.nn import functional

from infomri_core.models.mouth import Mouth

STAGES = (1, 2, 4, 8)


def normalisation(kind: str, n_channels: int) -> nn.Module:
    """GroupNorm with at most 8 groups of at least 4 channels, or BatchNorm2d."""
    if kind == "batch":
        return nn.BatchNorm2d(n_channels)
    n_groups = next(g for g in (8, 4, 2, 1) if n_channels % g == 0 and n_channels // g >= 4)
    return nn.GroupNorm(n_groups, n_channels)


def _convolution(n_in: int, n_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)


@final
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int, norm: str) -> None:
        super().__init__()
        self.convolution1 = _convolution(n_in, n_out, 3, stride)
        self.norm1 = normalisation(norm, n_out)
        self.convolution2 = _convolution(n_out, n_out, 3)
        self.norm2 = normalisation(norm, n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                _convolution(n_in, n_out, 1, stride), normalisation(norm, n_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.norm1(self.convolution1(x)))
        return functional.relu(self.norm2(self.convolution2(inner)) + self.shortcut(x))


@final
class ResNet18(nn.Module):
    """ResNet18 of base ``width`` (64 is the published one), images (B, C, H, W) to logits (B, K).

    The mouth follows the image: 7x7 stride 2 with max pooling from 48 pixels on, 3x3 stride 1
    below, so that fine structure survives in small images.
    """

    def __init__(
        self,
        n_channels: int,
        n_classes: int,
        shape: tuple[int, int],
        width: int = 64,
        norm: str = "group",
    ) -> None:
        super().__init__()
        small = min(shape) < 48
        self.mouth = _convolution(n_channels, width, 3) if small else Mouth(n_channels, width)
        self.norm = normalisation(norm, width)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        n_in = width
        for stage, factor in enumerate(STAGES):
            n_out = factor * width
            blocks.append(BasicBlock(n_in, n_out, 1 if stage == 0 else 2, norm))
            blocks.append(BasicBlock(n_out, n_out, 1, norm))
            n_in = n_out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_in, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.blocks(self.pool(functional.relu(self.norm(self.mouth(x)))))
        return self.head(features.mean(dim=(-2, -1)))
