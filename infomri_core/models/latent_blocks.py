"""Encoder and decoder of latent diffusion (Rombach et al. 2022), eight times smaller in between.

Every layer is used once a pass and mixes no samples, so that per-sample gradients are known.
"""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

FACTORS = (1, 2, 4, 4)
REDUCTION = 2 ** (len(FACTORS) - 1)
"""How many times smaller the latent image is."""
_GROUPS, _LEAST, _EPS = 32, 4, 1e-6


def _norm(n_channels: int) -> nn.GroupNorm:
    """32 groups, or fewer of four channels each."""
    return nn.GroupNorm(min(_GROUPS, n_channels // _LEAST), n_channels, eps=_EPS)


@final
class Residual(nn.Module):
    """x + two convolutions of it, each after a norm and SiLU; 1x1 shortcut where widths differ."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(n_in), _norm(n_out)
        self.convolution1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.convolution2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.convolution1(functional.silu(self.norm1(x)))
        inner = self.convolution2(functional.silu(self.norm2(inner)))
        found: Tensor = self.shortcut(x) + inner
        return found


@final
class Attention(nn.Module):
    """x + self-attention of one head over all positions."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.norm = _norm(n_channels)
        self.query, self.key, self.value, self.last = (
            nn.Conv2d(n_channels, n_channels, 1) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        query, key, value = (f(y).flatten(2) for f in (self.query, self.key, self.value))
        weights = (query.mT @ key * x.shape[1] ** -0.5).softmax(-1)
        found: Tensor = x + self.last((value @ weights.mT).view_as(x))
        return found


@final
class Down(nn.Module):
    """Half the size: a 3x3 convolution of stride 2, padded right and below."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_channels, n_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.convolution(functional.pad(x, (0, 1, 0, 1)))
        return found


@final
class Up(nn.Module):
    """Twice the size: pixels repeated, and a 3x3 convolution."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_channels, n_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.convolution(functional.interpolate(x, scale_factor=2.0))
        return found


def _middle(n_channels: int) -> list[nn.Module]:
    return [
        Residual(n_channels, n_channels),
        Attention(n_channels),
        Residual(n_channels, n_channels),
    ]


def encoder(n_in: int, n_out: int, width: int) -> nn.Sequential:
    """Images (B, n_in, H, W) to latent images (B, n_out, H / 8, W / 8)."""
    layers: list[nn.Module] = [nn.Conv2d(n_in, width, 3, padding=1)]
    now = width
    for level, factor in enumerate(FACTORS):
        for _ in range(2):
            layers.append(Residual(now, factor * width))
            now = factor * width
        if level + 1 < len(FACTORS):
            layers.append(Down(now))
    last = [_norm(now), nn.SiLU(), nn.Conv2d(now, n_out, 3, padding=1)]
    return nn.Sequential(*layers, *_middle(now), *last)


def decoder(n_in: int, n_out: int, width: int) -> nn.Sequential:
    """Latent images (B, n_in, H / 8, W / 8) to images (B, n_out, H, W)."""
    now = FACTORS[-1] * width
    layers = [nn.Conv2d(n_in, now, 3, padding=1), *_middle(now)]
    for level in reversed(range(len(FACTORS))):
        for _ in range(3):
            layers.append(Residual(now, FACTORS[level] * width))
            now = FACTORS[level] * width
        if level:
            layers.append(Up(now))
    return nn.Sequential(*layers, _norm(now), nn.SiLU(), nn.Conv2d(now, n_out, 3, padding=1))


def padded(images: Tensor) -> Tensor:
    """Images (B, C, H, W) continued below and to the right to multiples of 8."""
    height, width = images.shape[-2:]
    return functional.pad(images, (0, -width % REDUCTION, 0, -height % REDUCTION), "replicate")


def n_positions(shape: tuple[int, int]) -> tuple[int, int]:
    """The size of the latent image of images of ``shape``."""
    return (-(-shape[0] // REDUCTION), -(-shape[1] // REDUCTION))


def kl_divergence(of: "Gaussian", to: "Gaussian") -> Tensor:
    """KL[of || to] of diagonal Gaussians, summed over all but the first axis, in nats (B,)."""
    return kl_elements(of, to).flatten(1).sum(1)


def kl_elements(of: "Gaussian", to: "Gaussian") -> Tensor:
    """The same of each latent, (B, C, h, w)."""
    ratio = (of.log_variance - to.log_variance).exp()
    distance = (of.mean - to.mean).square() * (-to.log_variance).exp()
    return 0.5 * (ratio + distance - 1 + to.log_variance - of.log_variance)


@final
class Gaussian:
    """A diagonal Gaussian: ``mean`` and ``log_variance`` (B, C, h, w), the latter within ±10."""

    def __init__(self, parameters: Tensor) -> None:
        """From a network's output (B, 2 C, h, w)."""
        self.mean, log_variance = parameters.chunk(2, dim=1)
        self.log_variance = log_variance.clamp(-10, 10)

    def sample(self, noise: Tensor) -> Tensor:
        """mean + standard deviation * ``noise`` (B, ..., C, h, w), reparametrised."""
        mean, spread = self.mean, (0.5 * self.log_variance).exp()
        if noise.ndim > mean.ndim:
            mean, spread = mean[:, None], spread[:, None]
        return mean + spread * noise


def standard_normal(shape: tuple[int, ...], seed: int, device: torch.device) -> Tensor:
    """Standard normal values from a stream of their own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(device)
