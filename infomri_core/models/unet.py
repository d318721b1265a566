"""A U-Net (Ronneberger et al. 2015) that works at half resolution, for images of any size."""

from itertools import pairwise
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.models.resnet import normalisation


def _block(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        normalisation("group", n_out),
        nn.ReLU(),
        nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
        normalisation("group", n_out),
        nn.ReLU(),
    )


@final
class UNet(nn.Module):
    """(B, in_channels, H, W) to (B, out_channels, H, W), any H and W.

    Pixels are folded 2x2 into channels first and unfolded last, which loses nothing and costs a
    quarter. Below that ``depth`` halvings, ``width`` channels doubling with each. The last layer
    starts at zero: as a residual, an untrained network changes nothing.
    """

    def __init__(
        self, in_channels: int, out_channels: int = 1, width: int = 32, depth: int = 3
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.multiple = 2 ** (depth + 1)
        inputs = [4 * in_channels, *widths[:-1]]
        self.down = nn.ModuleList(_block(a, b) for a, b in zip(inputs, widths))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(widths))
        self.last = nn.Conv2d(width, 4 * out_channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(cast(Tensor, self.last.bias))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pad = (0, -width % self.multiple, 0, -height % self.multiple)
        x = functional.pixel_unshuffle(functional.pad(x, pad), 2)
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            x = block(torch.cat((skips.pop(), functional.interpolate(x, scale_factor=2.0)), 1))
        return functional.pixel_shuffle(self.last(x), 2)[..., :height, :width]
