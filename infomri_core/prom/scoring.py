"""What a mask keeps of images, by the measures ProM reports."""

from collections.abc import Callable

import torch

from infomri_core.physics.images import gaussian_ssim, nmse, psnr, scaled_by
from infomri_core.physics.kspace import fft2c
from infomri_core.reconstruction.linear import zero_filled

MEASURES = ("psnr", "ssim", "nmse")
_BATCH = 32

Rebuild = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Magnitude images (B, H, W) from sampled k-space (B, H, W) and its mask (H, W)."""


def by_zero_filling(measurement: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A :data:`Rebuild` that needs no mask."""
    return zero_filled(measurement)


def score_images(images: torch.Tensor, mask: torch.Tensor, rebuild: Rebuild) -> torch.Tensor:
    """PSNR in dB, SSIM and NMSE of each of ``images`` (n, H, W), float64 (n, 3), rebuilt from the
    points of ``mask`` (H, W) without noise.

    Image and reconstruction are put on the scale on which the image fills [0, 1], and clipped.
    ``images`` may be complex: the truth is then their magnitude.
    """
    rows = []
    for batch in images.split(_BATCH):
        truth = batch.abs() if batch.is_complex() else batch
        rebuilt = scaled_by(truth, rebuild(fft2c(batch) * mask, mask).to(truth.dtype))
        truth = scaled_by(truth, truth)
        measured = [measure(rebuilt, truth) for measure in (psnr, gaussian_ssim, nmse)]
        rows.append(torch.stack(measured, dim=1).double())
    return torch.cat(rows)
