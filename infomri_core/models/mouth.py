"""The first convolution of a network, with a fast gradient to the image."""

from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

_SIZE, _STRIDE, _PADDING = 7, 2, 3


@final
class Mouth(nn.Conv2d):
    """A 7x7 convolution of stride 2, images (B, C, H, W) to features (B, F, H/2, W/2), no bias.

    A sampling policy learns through the gradient to the image, which torch computes several times
    as slowly as the convolution itself, because an image has few channels. Here each 2x2 block of
    pixels counts as 4 C channels, and the gradient is one dense 4x4 convolution of stride 1.
    """

    def __init__(self, n_channels: int, n_features: int) -> None:
        super().__init__(n_channels, n_features, _SIZE, _STRIDE, padding=_PADDING, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        if not images.requires_grad:
            return super().forward(images)
        return cast(Tensor, _Convolution.apply(images, self.weight))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return functional.conv2d(images, weight, None, _STRIDE, _PADDING)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, weight = ctx.saved_tensors
        to_images, to_weight = ctx.needs_input_grad
        shape = list(weight.shape)
        return (
            image_gradient(gradient, weight, images.shape) if to_images else None,
            conv2d_weight(images, shape, gradient, _STRIDE, _PADDING) if to_weight else None,
        )


def image_gradient(gradient: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
    """The gradient to images of ``shape`` (B, C, H, W) from that of the features."""
    n_features, n_channels = weight.shape[:2]
    height, width = gradient.shape[-2:]
    blocks = functional.pad(weight, (1, 0, 1, 0)).view(n_features, n_channels, 4, 2, 4, 2)
    blocks = blocks.permute(0, 1, 3, 5, 2, 4).reshape(n_features, 4 * n_channels, 4, 4)
    found = functional.conv_transpose2d(gradient, blocks)[..., 2 : 2 + height, 2 : 2 + width]
    return functional.pixel_shuffle(found, 2)[..., : shape[-2], : shape[-1]]
