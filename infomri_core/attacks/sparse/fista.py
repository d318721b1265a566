"""FISTA (Beck and Teboulle 2009), batched: sparse images that agree with the measured data."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from infomri_core.physics.kspace import fft2c, ifft2c


class Penalty(ABC):
    """A convex penalty R on images (B, H, W), known by its proximal operator."""

    @abstractmethod
    def shrink(self, image: Tensor, weight: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """argmin_x 1/2 |x - image|^2 + weight R(x), weight (B, 1, 1), at least approximately.

        ``memory`` is None at first, then what the last call returned beside its answer.
        """


def fista(y: Tensor, count: Tensor, penalty: Penalty, weight: Tensor, n_steps: int) -> Tensor:
    """Images (B, H, W), real, after ``n_steps`` steps towards
    argmin_x 1/2 sum_i count_i / 2 |(Fx)_i - y_i|^2 + weight R(x), from the zero-filled image.

    ``y`` and ``count`` (B, H, W) are those of ``symmetrise``. As count is at most 2 and F
    orthonormal, the data term's gradient has Lipschitz constant 1, and the step is 1.
    """
    image = torch.real(ifft2c(y))
    ahead, momentum, memory = image, 1.0, None
    for _ in range(n_steps):
        gradient = torch.real(ifft2c(count / 2 * (fft2c(ahead) - y)))
        new, memory = penalty.shrink(ahead - gradient, weight, memory)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - image)
        image, momentum = new, following
    return image
