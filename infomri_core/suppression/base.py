"""A suppression: a figure of each mask, with its exact slope in every point of the mask."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

Slope = Callable[[], Tensor]


class Suppression(ABC):
    """How much a mask tells of an image; training adds beta times it to the loss.

    ``unit`` is what the figure is measured in: beta is then in nats of cross-entropy a ``unit``.
    ``most_masks`` bounds the masks of a batch that a step looks at; masks are drawn independently
    of each other, so that the mean over fewer of them has the same expectation.
    ``trained_against``: attacks whose success it is, which therefore judge it too mildly.
    ``needs_factors``: it is made of (variance, factors, noise_std), not of (variance, noise_std).
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    most_masks: ClassVar[int | None] = None
    trained_against: ClassVar[tuple[str, ...]] = ()
    needs_factors: ClassVar[bool] = False

    def __init__(self, device: torch.device) -> None:
        self.device = device

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


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, masks: Tensor, suppression: Suppression) -> Tensor:
        values, ctx.slope = suppression.evaluate(masks.detach())
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[:, None, None] * ctx.slope(), None
