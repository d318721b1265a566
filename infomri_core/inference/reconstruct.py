"""A trained arm rebuilds images, with the standard deviation of each pixel."""

from dataclasses import dataclass

import numpy as np
import torch

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, ifft2c, zero_fill
from infomri_core.system.errors import InputError


@dataclass(frozen=True)
class Rebuilt:
    """What became of n slices, float32 (n, H, W): ``mean`` and ``deviation`` of the image given
    the measurement, the ``mask``, the ``zero_filled`` magnitude, and the ``truth``, the image with
    all of k-space. ``psnr`` (n,) in dB is the mean's, ``expected`` (n,) what the deviation lets
    expect."""

    mean: np.ndarray
    deviation: np.ndarray
    mask: np.ndarray
    zero_filled: np.ndarray
    truth: np.ndarray

    @property
    def psnr(self) -> np.ndarray:
        """PSNR of the mean in dB, (n,)."""
        return psnr(torch.from_numpy(self.mean), torch.from_numpy(self.truth)).numpy()

    @property
    def expected(self) -> np.ndarray:
        """PSNR in dB that the deviation lets expect, (n,)."""
        found: np.ndarray = -10 * np.log10((self.deviation**2).mean((-2, -1)))
        return found


def check_rebuilds(model: SampledModel) -> None:
    """``InputError`` for an arm whose task rebuilds no image."""
    nothing = torch.zeros(1, *model.task.shape, dtype=torch.complex64)
    device = next(model.network.parameters()).device
    with torch.no_grad():
        found = model.task.images(model.output(nothing.to(device)))
    if found is None:
        remedy = "use `infomri diagnose`, or a run whose arms have beta below zero"
        got = f"one that {model.task.describe()}"
        raise InputError("model", "an arm that rebuilds images", got, remedy)


@torch.no_grad()
def rebuild(
    model: SampledModel,
    slices: torch.Tensor,
    ratio: float,
    generator: torch.Generator,
    is_kspace: bool = False,
) -> Rebuilt:
    """Measure each of ``slices`` (n, H, W) once and rebuild it.

    Images are in [0, 1] and measured with the noise of the training; centred k-space, scaled as
    training's was, has its own and is masked only.
    """
    kspace, noise = (slices, 0.0) if is_kspace else (fft2c(slices), model.noise_std)
    seen = model.acquire_kspace(kspace, ratio, noise, generator)
    truth = ifft2c(slices).abs() if is_kspace else slices
    found = rebuilt_from(model, seen.y, seen.mask, truth)
    assert found is not None, "check_rebuilds comes first"
    return found


@torch.no_grad()
def rebuilt_from(
    model: SampledModel, measurement: torch.Tensor, masks: torch.Tensor, truth: torch.Tensor
) -> Rebuilt | None:
    """What the arm makes of measurements and masks (n, H, W), beside the ``truth``; None for an
    arm whose task rebuilds no image."""
    found = model.task.images(model.output(measurement, masks))
    if found is None:
        return None
    parts = (*found, masks, zero_fill(measurement).abs(), truth)
    return Rebuilt(*(part.float().cpu().numpy() for part in parts))
