"""Answers that use no measurement: what an attack must beat before it has learned anything."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.privacy.attacks.base import Attack, Policies, check_images


class Floor(Attack):
    """Always the same image."""

    image: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("image", torch.zeros(self.shape))

    @abstractmethod
    def answer(self, images: Tensor) -> Tensor:
        """The one image, broadcastable to (H, W), chosen from the audit set (n, H, W)."""

    def fit(
        self,
        images: Tensor,
        policy: Policies,
        ratios: Sequence[float],
        noise_std: float,
        generator: torch.Generator,
        patients: np.ndarray | None = None,
    ) -> Self:
        check_images(images, self.shape)
        self.image = self.answer(images).to(images.dtype).expand(self.shape).contiguous()
        return self

    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        return self.image.clamp(0, 1).expand(len(measurement), *self.shape)


@final
class Zero(Floor):
    """The black image."""

    name = "zero"

    def answer(self, images: Tensor) -> Tensor:
        return images.new_zeros(())


@final
class Constant(Floor):
    """The best constant image: the mean pixel."""

    name = "constant"

    def answer(self, images: Tensor) -> Tensor:
        return images.mean()


@final
class Mean(Floor):
    """The mean image: the best single answer in mean squared error."""

    name = "mean"

    def answer(self, images: Tensor) -> Tensor:
        return images.mean(0)
