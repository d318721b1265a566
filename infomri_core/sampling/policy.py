"""What a sampling policy is: from a sampling ratio to the probability of each k-space point."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import nn

from infomri_core.sampling.rescaling import rescale
from infomri_core.system.errors import InputError

Constraint = Literal["2d", "1d"]
"""What is sampled: points, or whole columns."""


class SamplingPolicy(nn.Module, ABC):
    """r -> mu(r) in [0, 1]^(H, W) with mean exactly r (InfoMRI, Eq. 16).

    Subclasses say only where samples are wanted, in ``density``.

    Args:
        shape: (H, W) of the images.
        constraint: With "1d" all rows are equal and masks sample whole columns.

    Raises:
        InputError: Another constraint, or no shape.
    """

    def __init__(self, shape: tuple[int, int], constraint: Constraint = "2d") -> None:
        super().__init__()
        if constraint not in ("2d", "1d"):
            raise InputError("policy: constraint", "2d or 1d", str(constraint), "choose one")
        if len(shape) != 2 or min(shape) < 1:
            raise InputError("policy: shape", "(H, W)", str(shape), "give the image's shape")
        self.shape = (int(shape[0]), int(shape[1]))
        self.constraint: Constraint = constraint

    @property
    def grid(self) -> tuple[int, int]:
        """The units drawn independently: (H, W) points, or (1, W) columns."""
        return self.shape if self.constraint == "2d" else (1, self.shape[1])

    @abstractmethod
    def density(self, ratio: float) -> torch.Tensor:
        """Where samples are wanted, before the mean is set.

        Args:
            ratio: Share of k-space to sample, in (0, 1].

        Returns:
            Probabilities in [0, 1] on ``grid``, whose mean need not be ``ratio`` yet.
        """

    def forward(self, ratio: float) -> torch.Tensor:
        """Sampling probabilities.

        Args:
            ratio: Share of k-space to sample, in (0, 1].

        Returns:
            (H, W) in [0, 1], with mean ``ratio``.
        """
        check_ratio(ratio)
        return rescale(self.density(ratio), ratio).expand(self.shape)


def check_ratio(ratio: float) -> None:
    """``InputError`` unless 0 < ``ratio`` <= 1."""
    if not 0 < ratio <= 1:
        raise InputError("sampler: ratio", "0 < ratio <= 1", str(ratio), "correct it")
