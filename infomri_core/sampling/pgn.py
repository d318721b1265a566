"""The learned policy: a pattern generator network (PGN) over a position embedding."""

import math
from typing import Self, final

import torch
from torch import nn

from infomri_core.sampling.policy import Constraint, SamplingPolicy
from infomri_core.system.errors import InputError

_START_GAIN = 1.5
_START_RATIO = 1 / 16
_ENERGY_FLOOR = 1e-8


@final
class PatternGenerator(SamplingPolicy):
    """mu(r) from a learnable position embedding concatenated with r, a one-hidden-layer MLP
    applied at each position (1x1 convolutions), and a sigmoid (InfoMRI, Eq. 16).

    The logits are MLP([e, r]) + g * (e_0 + log r), with e_0 the embedding's first channel. Fresh
    from the constructor g = 0: the paper's random start.

    Args:
        shape: (H, W) of the images.
        constraint: Points ("2d") or whole columns ("1d").
        hidden: Width of the hidden layer.
        embedding: Channels of the position embedding.
        generator: Of the starting weights.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        constraint: Constraint = "2d",
        *,
        hidden: int = 32,
        embedding: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(shape, constraint)
        n = math.prod(self.grid)
        self.embedding = nn.Parameter(torch.randn(embedding, n, generator=generator))
        self.hidden_weight = nn.Parameter(_uniform(hidden, embedding + 1, generator))
        self.hidden_bias = nn.Parameter(_uniform(hidden, 1, generator))
        self.output_weight = nn.Parameter(_uniform(1, hidden, generator))
        self.output_bias = nn.Parameter(torch.zeros(()))
        self.spectral_gain = nn.Parameter(torch.zeros(()))

    def density(self, ratio: float) -> torch.Tensor:
        """Sigmoid of the logits, on ``grid``."""
        return torch.sigmoid(self.logits(ratio)).view(self.grid)

    def logits(self, ratio: float) -> torch.Tensor:
        """Logits before the sigmoid.

        Args:
            ratio: r, in (0, 1].

        Returns:
            (n,), one for each unit of ``grid``.
        """
        from_ratio = self.hidden_weight[:, -1:] * ratio + self.hidden_bias
        hidden = torch.addmm(from_ratio, self.hidden_weight[:, :-1], self.embedding).relu_()
        residual = (self.output_weight @ hidden)[0] + self.output_bias
        return residual + self.spectral_gain * (self.embedding[0] + math.log(ratio))

    @torch.no_grad()
    def start_spectral(self, variance: torch.Tensor) -> Self:
        """Start, in place, from where images differ.

        e_0 becomes the standardised log energy, shifted so that the sigmoid's mean at ratio 1/16
        needs no rescaling (with the gain on log r it needs little at others); the MLP becomes a
        residual that starts at zero.

        Args:
            variance: (2, H, W) of the real and imaginary parts of k-space.

        Raises:
            InputError: A variance of another shape, not finite, or all zero.
        """
        energy = self._energy(variance)
        floor = _ENERGY_FLOOR * energy.max()
        spectrum = torch.log(energy.clamp(min=floor))
        spread = spectrum.std(correction=0).clamp(min=1e-6)
        scaled = (spectrum - spectrum.mean()) / spread
        shift = _shift_to_mean(_START_GAIN * scaled, _START_RATIO) / _START_GAIN
        self.embedding[0] = (scaled + shift - math.log(_START_RATIO)).to(self.embedding)
        self.output_weight.zero_()
        self.output_bias.zero_()
        self.spectral_gain.fill_(_START_GAIN)
        return self

    def _energy(self, variance: torch.Tensor) -> torch.Tensor:
        """Variance of both parts per unit of ``grid``, float64 (n,)."""
        if tuple(variance.shape) != (2, *self.shape):
            got, expected = str(tuple(variance.shape)), str((2, *self.shape))
            raise InputError("start_spectral: variance", expected, got, "match the policy's shape")
        energy = variance.double().sum(0)
        if not bool(torch.isfinite(energy).all()) or not float(energy.max()) > 0:
            raise InputError(
                "start_spectral: variance",
                "finite values, not all zero",
                f"a maximum of {float(energy.max()):.4g}",
                "take it from the k-space of two or more different images",
            )
        return energy.flatten() if self.constraint == "2d" else energy.sum(0)


@final
class PaperPatternGenerator(SamplingPolicy):
    """The network that the paper's count of 16.4 K parameters implies at 128 x 128: an embedding
    of one channel beside r, a hidden layer of 16 and a sigmoid (InfoMRI, Eq. 16).

    Args:
        shape: (H, W) of the images.
        constraint: Points ("2d") or whole columns ("1d").
        hidden: Width h of the hidden layer; N units then have N + 4h + 1 parameters.
        generator: Of the starting weights.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        constraint: Constraint = "2d",
        *,
        hidden: int = 16,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(shape, constraint)
        self.embedding = nn.Parameter(torch.randn(1, math.prod(self.grid), generator=generator))
        self.hidden_weight = nn.Parameter(_uniform(hidden, 2, generator))
        self.hidden_bias = nn.Parameter(_uniform(hidden, 1, generator))
        self.output_weight = nn.Parameter(_uniform(1, hidden, generator))
        self.output_bias = nn.Parameter(torch.zeros(()))

    def density(self, ratio: float) -> torch.Tensor:
        """Sigmoid of the MLP, on ``grid``."""
        from_ratio = self.hidden_weight[:, 1:] * ratio + self.hidden_bias
        hidden = torch.addmm(from_ratio, self.hidden_weight[:, :1], self.embedding).relu_()
        return torch.sigmoid((self.output_weight @ hidden)[0] + self.output_bias).view(self.grid)


def _uniform(n_out: int, n_in: int, generator: torch.Generator | None) -> torch.Tensor:
    """Weights U(-1/sqrt(n_in), 1/sqrt(n_in)), (n_out, n_in)."""
    return (2 * torch.rand(n_out, n_in, generator=generator) - 1) / math.sqrt(n_in)


def _shift_to_mean(logits: torch.Tensor, mean: float) -> float:
    """The t for which sigmoid(logits + t) has that mean, by bisection."""
    low, high = -100.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(torch.sigmoid(logits + middle).mean()) < mean:
            low = middle
        else:
            high = middle
    return (low + high) / 2
