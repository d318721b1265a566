"""Suppressions by a Gaussian model of images in which points of k-space tell of each other."""

from abc import abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from infomri_core.suppression.base import Slope, Suppression
from infomri_core.suppression.gaussian import GaussianImages, Pairs, Posterior


class GaussianSuppression(Suppression):
    """A figure of the Gaussian posterior that a mask leaves.

    ``variance`` (2, H, W) of k-space and ``factors`` (q, H, W), the leading part of the audit
    set's shrunk covariance. The slope of a point follows from what its conjugate pair would leave
    sampled never, once and twice: the derivative of the formula by a fractional count would be
    hundreds of times too large where nothing is sampled yet.
    """

    most_masks: ClassVar[int | None] = 1
    needs_factors: ClassVar[bool] = True

    def __init__(self, variance: Tensor, factors: Tensor, noise_std: float) -> None:
        super().__init__(variance.device)
        self._images = GaussianImages(variance, factors, noise_std)

    def evaluate(self, masks: Tensor) -> tuple[Tensor, Slope]:
        found = [self._images.posterior(mask) for mask in masks]
        values = torch.stack([self.figure(posterior) for posterior in found])
        return values.to(masks.dtype), lambda: self._slope(masks, found)

    @abstractmethod
    def figure(self, posterior: Posterior) -> Tensor:
        """The figure of a mask, a scalar."""

    @abstractmethod
    def step(self, posterior: Posterior, pairs: Pairs, count: int) -> Tensor:
        """What the sample number ``count`` (1, 2) of each of ``pairs`` (p,) adds to the figure."""

    def _slope(self, masks: Tensor, found: list[Posterior]) -> Tensor:
        images, slopes = self._images, []
        for mask, posterior in zip(masks, found):
            first, second = (masks.new_zeros(images.n_pairs) for _ in range(2))
            first[posterior.others.index] = self.step(posterior, posterior.others, 1).to(first)
            first[posterior.sampled.index] = self.step(posterior, posterior.sampled, 1).to(first)
            second[posterior.sampled.index] = self.step(posterior, posterior.sampled, 2).to(first)
            there = (mask.flatten()[images.partner] > 0) & ~images.own
            slope = torch.where(there, second[images.pair], first[images.pair])
            slopes.append(slope.view_as(mask))
        return torch.stack(slopes)


@final
class JointInformation(GaussianSuppression):
    """I(X; Y) in nats: 1/2 log det(I + C / noise) at the sampled points.

    Masks of one budget have the noise's entropy in common; up to it, this is the entropy of the
    measurement with the points' correlations, of which the marginal entropy knows those of a pair.
    """

    name: ClassVar[str] = "joint"
    unit: ClassVar[str] = "nat"

    def figure(self, posterior: Posterior) -> Tensor:
        return posterior.information

    def step(self, posterior: Posterior, pairs: Pairs, count: int) -> Tensor:
        return (pairs.log_det(count) - pairs.log_det(count - 1)) / 2


@final
class AttackQuality(GaussianSuppression):
    """PSNR in dB that the linear attack (LMMSE) is expected to reach: -10 log10 of the posterior
    variance of a pixel. Beta is in nats of cross-entropy a dB."""

    name: ClassVar[str] = "attack"
    trained_against: ClassVar[tuple[str, ...]] = ("lmmse",)
    unit: ClassVar[str] = "dB"

    def figure(self, posterior: Posterior) -> Tensor:
        return self._decibel(posterior.error)

    def step(self, posterior: Posterior, pairs: Pairs, count: int) -> Tensor:
        without = posterior.error + pairs.removed(pairs.count)
        less, more = (without - pairs.removed(n) for n in (count - 1, count))
        return self._decibel(more) - self._decibel(less)

    def _decibel(self, error: Tensor) -> Tensor:
        return -10 * torch.log10(error / len(self._images.partner))
