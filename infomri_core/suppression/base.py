"""What beta weighs in the loss: a figure of what is measured, or of masks alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from infomri_core.system.errors import InputError

Slope = Callable[[], Tensor]


class Penalty(ABC):
    """How much a measurement tells of an image; training adds beta times it to the loss.

    ``unit`` is what the figure is measured in: beta is then in nats of cross-entropy a ``unit``.
    ``trained_against``: attacks whose success it is, which therefore judge it too mildly.
    ``needs_factors``: it is made of (variance, factors, noise_std), not of (variance, noise_std).
    ``of_images``: it learns from the images that are trained on; else it is a figure of masks
    alone (:class:`Suppression`), which tells of no patient.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    trained_against: ClassVar[tuple[str, ...]] = ()
    needs_factors: ClassVar[bool] = False
    of_images: ClassVar[bool] = False

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @abstractmethod
    def of(self, images: Tensor, measurement: Tensor, masks: Tensor) -> Tensor:
        """The mean figure of a batch, a scalar that is differentiable in the masks.

        Args:
            images: (B, H, W) in [0, 1].
            measurement: Their sampled noisy k-space, complex (B, H, W).
            masks: (B, H, W) of zeros and ones.
        """

    def kept(self) -> dict[str, np.ndarray]:
        """What the next round goes on from. A site keeps it beside the optimizer's state; it is
        in no message."""
        return {}

    def resume(self, kept: Mapping[str, np.ndarray]) -> None:  # noqa: B027
        """Go on from what :meth:`kept` gave, which may stand among other arrays, or be missing."""


class Suppression(Penalty):
    """A figure of each mask, whatever is measured through it, with its exact slope.

    ``most_masks`` bounds the masks of a batch that a step looks at; masks are drawn independently
    of each other, so that the mean over fewer of them has the same expectation.
    """

    most_masks: ClassVar[int | None] = None

    @abstractmethod
    def evaluate(self, masks: Tensor) -> tuple[Tensor, Slope]:
        """The figure (B,) of binary masks (B, H, W), and what computes its slope (B, H, W).

        The slope at i is f(m with i sampled) - f(m without i), everything else as drawn. Its mean
        over masks drawn independently with probabilities mu is the derivative of the mean of f by
        mu_i exactly, because that mean is linear in each mu_i. The derivative of a formula that
        extends f to fractional masks is another function, which can be wrong by any factor.
        """

    def __call__(self, masks: Tensor) -> Tensor:
        """The figure of each mask: (B, H, W) -> (B,), differentiable by the exact slope."""
        return cast(Tensor, _WithSlope.apply(masks, self))

    def mean(self, masks: Tensor) -> Tensor:
        """The mean figure of independently drawn masks (B, H, W): a scalar."""
        return self(masks[: self.most_masks]).mean()

    def of(self, images: Tensor, measurement: Tensor, masks: Tensor) -> Tensor:
        return self.mean(masks)


def of_masks(penalty: Penalty) -> Suppression:
    """``penalty`` as a figure of masks alone, which tells of no patient. Raises ``InputError``."""
    if not isinstance(penalty, Suppression):
        expected, remedy = "one of masks alone, such as attack", "train without [privacy]"
        raise InputError(f"suppression '{penalty.name}'", expected, "one of images", remedy)
    return penalty


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, masks: Tensor, suppression: Suppression) -> Tensor:
        values, ctx.slope = suppression.evaluate(masks.detach())
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[:, None, None] * ctx.slope(), None
