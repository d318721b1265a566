"""Answers that use no measurement: what an attack must beat before it has learned anything."""

from abc import abstractmethod
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.audit_set import AuditSet, check_images
from infomri_core.attacks.base import Attack
from infomri_core.physics.images import psnr

MAX_CLUSTERS = 8
_PER_CLUSTER = 4
_N_ITERATIONS = 10


class Floor(Attack):
    """Always the same image."""

    image: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("image", torch.zeros(self.shape))

    @abstractmethod
    def answer(self, images: Tensor) -> Tensor:
        """The one image.

        Args:
            images: (n, H, W), the audit set.

        Returns:
            Broadcastable to (H, W).
        """

    def fit(self, audit_set: AuditSet) -> Self:
        check_images(audit_set.images, self.shape)
        images = audit_set.images
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


@final
class Centroid(Floor):
    """The best single answer out of the audit set's k-means centroids.

    Mean PSNR, unlike mean squared error, rewards an answer that is near to many images and far
    from the others, so that the centre of a large cluster may beat the mean image. "Best" is by
    mean PSNR over the audit set: choosing by the measurement would make it an attack.
    """

    name = "centroid"

    def answer(self, images: Tensor) -> Tensor:
        centroids = k_means(images, min(MAX_CLUSTERS, max(1, len(images) // _PER_CLUSTER)))
        quality = [float(psnr(c.expand_as(images), images).mean()) for c in centroids]
        return centroids[int(np.argmax(quality))]


FLOOR_CLASSES: dict[str, type[Attack]] = {
    floor.name: floor for floor in (Zero, Constant, Mean, Centroid)
}


def k_means(images: Tensor, n_clusters: int) -> Tensor:
    """Centroids by Lloyd's iteration.

    It starts from the image nearest to the mean, then takes the image farthest from all taken.

    Args:
        images: (n, H, W).
        n_clusters: The most centroids.

    Returns:
        (k, H, W), where k <= n_clusters.
    """
    flat = images.flatten(1)
    nearest = torch.cdist(flat, flat.mean(0, keepdim=True))[:, 0].argmin()
    centroids = flat[nearest : nearest + 1]
    while len(centroids) < n_clusters:
        farthest = torch.cdist(flat, centroids).amin(1).argmax()
        centroids = torch.cat((centroids, flat[farthest : farthest + 1]))
    for _ in range(_N_ITERATIONS):
        owner = torch.cdist(flat, centroids).argmin(1)
        centroids = torch.stack([flat[owner == k].mean(0) for k in owner.unique().tolist()])
    return centroids.view(-1, *images.shape[1:])
