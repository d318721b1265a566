"""What a trained arm outlines in a slice: samples, and where they differ."""

from dataclasses import dataclass

import numpy as np
import torch

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.physics.kspace import fft2c, zero_fill
from infomri_core.system.errors import InputError

MOST_SAMPLES = 1024


@dataclass(frozen=True)
class Segments:
    """Of n slices: ``samples`` (n, S, H, W) uint8, label maps with 0 for the background;
    ``probability`` (n, K, H, W) of each outline, the mean over the samples; ``entropy`` (n, H, W)
    of that mean in nats; ``seen`` (n, H, W), the zero-filled magnitude."""

    samples: np.ndarray
    probability: np.ndarray
    entropy: np.ndarray
    seen: np.ndarray

    @property
    def fused(self) -> np.ndarray:
        """The likeliest label map, (n, H, W) uint8."""
        background = 1 - self.probability.sum(1, keepdims=True)
        whole = np.concatenate((background, self.probability), axis=1)
        found: np.ndarray = whole.argmax(1).astype(np.uint8)
        return found


@torch.no_grad()
def segment(
    model: SampledModel,
    slices: torch.Tensor,
    ratio: float,
    generator: torch.Generator,
    n_samples: int,
) -> Segments:
    """Measure each of ``slices`` once, images (n, H, W) in [0, 1] with the noise of the training
    or centred complex k-space (n, H, W) that carries its own, and draw ``n_samples`` outlines of
    each (InfoMRI, Algorithm 3). ``InputError`` for a task that outlines nothing."""
    if not 1 <= n_samples <= MOST_SAMPLES:
        raise InputError("samples", f"1 .. {MOST_SAMPLES}", str(n_samples), "correct it")
    measured = slices.is_complex()
    kspace, noise_std = (slices, 0.0) if measured else (fft2c(slices), model.noise_std)
    found = model.acquire_kspace(kspace, ratio, noise_std, generator)
    drawn = model.outlined(found.y, n_samples, generator)
    if drawn is None:
        remedy = "use `infomri diagnose` for its answers"
        raise InputError("--model", "a model that outlines something", model.task.kind, remedy)
    mean = drawn.mean(1)
    entropy = -(mean * mean.clamp_min(1e-12).log()).sum(1)
    return Segments(
        drawn.argmax(2).to(torch.uint8).cpu().numpy(),
        mean[:, 1:].float().cpu().numpy(),
        entropy.float().cpu().numpy(),
        zero_fill(found.y).abs().clamp(0, 1).cpu().numpy(),
    )
