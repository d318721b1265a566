"""The Gaussian mechanism without the last bits of floating point: sums and noise on one lattice.

Continuous Gaussian noise, drawn and added in floating point, has gaps and unequal last bits that
tell the sum (Mironov 2012; Holohan and Braghin 2021). So the sum is rounded to multiples of a step
that does not depend on the data, and the noise is a discrete Gaussian on the same multiples
(Canonne, Kamath and Steinke 2020): the output is an integer times the step, whatever the data.
"""

import math
from dataclasses import dataclass
from typing import final

import torch

from infomri_core.randomness.secret_stream import SecretStream, discrete_gaussian

_FINEST = 30
_LARGEST_LOG_SIGMA = 46


@final
@dataclass(frozen=True)
class Lattice:
    """Multiples of ``step``, and the noise of one sum of ``n_values`` numbers on them.

    ``clip`` bounds the Euclidean norm of what one unit adds; ``margin`` is the relative error of
    the arithmetic that made the sum. One unit then moves the rounded sum by at most
    ``sensitivity`` = clip (1 + margin) + step sqrt(n_values): each of the two sums is rounded by
    half a step a number. The noise has standard deviation ``noise_multiplier * sensitivity``.
    """

    clip: float
    noise_multiplier: float
    n_values: int
    margin: float

    @property
    def step(self) -> float:
        """clip / 2^30, or a coarser power of two where noise beyond 2^16 clips asks for one."""
        bits = min(_FINEST, _LARGEST_LOG_SIGMA - math.ceil(math.log2(self.noise_multiplier)))
        return math.ldexp(self.clip, -bits)

    @property
    def sensitivity(self) -> float:
        """How far one unit moves the rounded sum, Euclidean."""
        return self.clip * (1 + self.margin) + self.step * math.sqrt(self.n_values)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise, in the sum's own unit."""
        return self.noise_multiplier * self.sensitivity

    def noised(self, total: torch.Tensor, stream: SecretStream) -> torch.Tensor:
        """``total`` (float64, any shape) rounded to the lattice, with noise; float64, on its
        device. All numbers are integers below 2^53 steps, so that the addition is exact.

        Guarantee: the Gaussian mechanism of ``noise_multiplier``, for the sum of ``n_values``
        numbers. With s the noise in steps, a discrete Gaussian and a rounded continuous one have
        a Kullback-Leibler divergence of 1 / (576 s^4): over n numbers, however they are chosen, a
        total variation of at most sqrt(n / 1152) / s^2 (Pinsker), 2^-40 for 2^50 numbers at a
        noise multiplier of 1. To round after the noise costs nothing. So an accountant of the
        (Poisson subsampled) continuous mechanism holds up to that, which no delta here feels.
        """
        noise = discrete_gaussian(stream, self.noise_std / self.step, tuple(total.shape))
        steps = total.div(self.step).round_()
        steps += torch.from_numpy(noise).to(total.device)
        return steps.mul_(self.step)
