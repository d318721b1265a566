"""The U-Net of fastMRI (Zbontar et al. 2018), for a mean and a variance."""

from itertools import pairwise
from typing import ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.physics.kspace import zero_fill
from infomri_core.reconstruction.base import Reconstructor, VarianceHead, gaussian, start_at

POOLS = 4


@final
class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.second = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return _active(self.second(_active(self.first(x))))


@final
class _Up(nn.Module):
    """A transposed convolution of 2x2 and stride 2, written as a 1x1 convolution to four pixels
    each: the same function with the same weights, whose per-sample gradients are known."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weights = nn.Conv2d(n_in, 4 * n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return _active(functional.pixel_shuffle(self.weights(x), 2))


@final
class FastMRIUNet(nn.Module):
    """(B, n_in, H, W) to (B, n_out, H, W), any H and W from 32 on: four poolings, ``chans``
    features at the top, doubling; 7.756 M parameters at 32, 31.024 M at 64."""

    def __init__(self, n_in: int, n_out: int, chans: int) -> None:
        super().__init__()
        widths = [chans * 2**level for level in range(POOLS + 1)]
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip([n_in, *widths], widths))
        self.up = nn.ModuleList(_Up(b, a) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(_Block(2 * a, a) for a in widths[:-1])
        self.last = nn.Conv2d(chans, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        multiple = 2**POOLS
        pad = (0, -width % multiple, 0, -height % multiple)
        x = functional.pad(x, pad, "reflect")
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        x = skips.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge)):
            x = merge(torch.cat((up(x), skips.pop()), dim=1))
        found: Tensor = self.last(x)
        return found[..., :height, :width]


@final
class UNet(Reconstructor):
    """Mean |x_zf| + s u_1 + u_3 and log variance u_2, u of the zero-filled image x_zf.

    The normalisation inside the network takes mean and scale away from every feature. So it sees
    x_zf standardised by mean and standard deviation s of |x_zf|, which u_1 has back. Where the
    mask leaves the image faint, as points at random do that miss the centre of k-space, neither
    what is missing nor the error is faint: u_3 and the variance are not tied to s.
    ``width`` is ``chans``. It starts as |x_zf| with one variance.
    """

    least: ClassVar[int] = 32
    private: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.network = FastMRIUNet(2, 3, width)
        start_at(self.network.last, 0.0)
        with torch.no_grad():
            self.network.last.bias[1] = VarianceHead.START  # type: ignore[index]

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        zero_filled = zero_fill(measurement)
        image = zero_filled.abs()
        middle = image.mean((-2, -1), keepdim=True)
        scale = image.std((-2, -1), keepdim=True).clamp_min(1e-4)
        seen = torch.stack((zero_filled.real - middle, zero_filled.imag), dim=1)
        change, log_variance, missing = self.network(seen / scale[:, None]).unbind(1)
        return gaussian(image + scale * change + missing, log_variance)


def _active(x: Tensor) -> Tensor:
    """Instance normalisation, which mixes no samples, and LeakyReLU."""
    return functional.leaky_relu(functional.instance_norm(x), 0.2)
