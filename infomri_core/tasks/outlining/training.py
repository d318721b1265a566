"""A step of Algorithm 2: one sample of the posterior, and what it is scored by."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from infomri_core.data.base import ABSENT
from infomri_core.models.latent import LatentModel, latent_shape
from infomri_core.models.latent_blocks import kl_divergence
from infomri_core.tasks.outlining.scores import indicators, two_channels


class Trained(NamedTuple):
    """Of a step: logits (B, 1, C, H, W) of one sample of the posterior, the outline of the rater
    that was drawn (B, H, W), and in nats a slice (B,) the divergence of the posterior from the
    prior, and the image's negative log-likelihood."""

    logits: Tensor
    labels: Tensor
    kl: Tensor
    image: Tensor


def trained(
    latent: LatentModel,
    measurement: Tensor,
    images: Tensor | None,
    labels: Tensor,
    noise: Tensor | None,
) -> Trained:
    """The posterior sees what the rater outlined, ``labels`` (B, H, W); ``noise`` (B, n) makes its
    sample. Without it there is no posterior, and the prior's mean is decoded."""
    shape: tuple[int, int] = (labels.shape[-2], labels.shape[-1])
    seen, nothing = two_channels(measurement), torch.zeros(len(labels), device=labels.device)
    prior, kl = latent.given(seen), nothing
    drawn = prior.mean
    if noise is not None:
        posterior = latent.knowing(seen, indicators(labels, latent.n_classes))
        drawn = posterior.sample(noise.view(len(noise), *latent_shape(shape)).to(prior.mean))
        known = (labels.flatten(1)[:, 0] != ABSENT).to(nothing)
        kl = kl_divergence(posterior, prior) * known
    logits = latent.segmented(drawn[:, None], shape)
    return Trained(logits, labels, kl, _image(latent, images, prior.mean, shape, nothing))


def _image(
    latent: LatentModel,
    images: Tensor | None,
    mean: Tensor,
    shape: tuple[int, int],
    nothing: Tensor,
) -> Tensor:
    if latent.image_decoder is None or images is None:
        return nothing
    rebuilt, log_variance = latent.rebuilt(mean, shape)
    error = (images - rebuilt).square() * (-log_variance).exp()
    found: Tensor = 0.5 * (error + log_variance + math.log(2 * math.pi)).sum((-2, -1))
    return found
