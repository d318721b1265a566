"""The latent model of InfoMRI's Algorithms 2 and 3: segmentations as samples of a distribution."""

from typing import final

import torch
from torch import Tensor, nn

from infomri_core.models.latent_blocks import (
    Gaussian,
    decoder,
    encoder,
    n_positions,
    padded,
)

LATENTS = 16
WIDTHS = (8, 16, 32, 64, 128)


@final
class LatentModel(nn.Module):
    """q(z | y), the prior, and p(z | y, t), the posterior, are encoders; D_T and D_X decode.

    A latent is a channel of the encoder's output by a split, without parameters: ``LATENTS``
    means and as many log-variances a position. ``posterior`` and ``image_decoder`` train and are
    not deployed. With ``images`` D_X rebuilds the image and its log-variance from the prior's
    mean; the counts of the paper have one channel there, and D_X here has two.
    """

    def __init__(self, n_classes: int, width: int, images: bool, posterior: bool = True) -> None:
        """``n_classes`` counts the foreground: one logit for one, else softmax with background."""
        super().__init__()
        self.n_classes = n_classes
        self.prior = encoder(2, 2 * LATENTS, width)
        self.decoder = decoder(LATENTS, 1 if n_classes == 1 else n_classes + 1, width)
        self.posterior: nn.Module | None = None
        if posterior:
            self.posterior = encoder(2 + n_classes, 2 * LATENTS, width)
        self.image_decoder = decoder(LATENTS, 2, width) if images else None

    def given(self, images: Tensor) -> Gaussian:
        """q(z | y) from zero-filled images (B, 2, H, W)."""
        return Gaussian(self.prior(padded(images)))

    def knowing(self, images: Tensor, indicators: Tensor) -> Gaussian:
        """p(z | y, t) with the classes' ``indicators`` (B, K, H, W)."""
        assert self.posterior is not None
        return Gaussian(self.posterior(padded(torch.cat((images, indicators), dim=1))))

    def segmented(self, latents: Tensor, shape: tuple[int, int]) -> Tensor:
        """Logits (B, S, C, H, W) of latent images (B, S, Z, h, w)."""
        found = self.decoder(latents.flatten(0, 1))[..., : shape[0], : shape[1]]
        return found.unflatten(0, latents.shape[:2])

    def rebuilt(self, latents: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, H, W) of the image; the latter in -12 .. 2."""
        assert self.image_decoder is not None
        found = self.image_decoder(latents)[..., : shape[0], : shape[1]]
        return found[:, 0], found[:, 1].clamp(-12, 2)


def latent_shape(shape: tuple[int, int]) -> tuple[int, int, int]:
    """Of one latent image of images of ``shape``: (Z, h, w)."""
    return (LATENTS, *n_positions(shape))
