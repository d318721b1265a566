"""Masks and k-space that another system made: read, checked, and put before the attacks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from infomri_core.data.arrays import open_npy
from infomri_core.physics.kspace import fft2c, zero_fill
from infomri_core.system.config import build, read_toml
from infomri_core.system.errors import InputError

_NOISE_MARGIN = 4.0
_RELATIVE_MARGIN = 1e-3
_BRIGHTEST = 4.0


@dataclass(frozen=True)
class _Description:
    """``external.toml``: standard deviation of real and of imaginary part of the noise."""

    noise_std: float


@dataclass(frozen=True)
class External:
    """What another system measured.

    Args:
        masks: (n, H, W) of 0 and 1.
        kspace: Complex64 (n, H, W), zero where nothing was sampled.
        truth: The images (n, H, W) in [0, 1], where they are known.
        noise_std: Standard deviation of the real part of the noise and of its imaginary part.
    """

    masks: torch.Tensor
    kspace: torch.Tensor
    truth: torch.Tensor | None
    noise_std: float

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.masks.shape[1]), int(self.masks.shape[2])


def read_external(directory: Path) -> External:
    """Read ``mask.npy``, ``kspace.npy``, ``external.toml`` and, where there is one, ``truth.npy``.

    k-space is that of this platform: centred, orthonormal, of images in [0, 1], and zero where
    nothing was sampled.

    Args:
        directory: With those files.

    Raises:
        InputError: A file is missing, or is not what it should be.
    """
    description = build(_Description, read_toml(directory / "external.toml"), "external.toml")
    if not 0 <= description.noise_std < np.inf:
        got = str(description.noise_std)
        raise InputError("external.toml: noise_std", "0 or more", got, "correct it")
    kspace = _array(directory / "kspace.npy", "complex k-space (n, H, W)", "c", (3,))
    mask = _array(directory / "mask.npy", "0 and 1, (H, W) or (n, H, W)", "biuf", (2, 3))
    if not np.isin(mask, (0, 1)).all() or not mask.any():
        raise InputError("mask.npy", "0 and 1, not all 0", "other values", "binarise the mask")
    if mask.shape[-2:] != kspace.shape[1:] or mask.shape[:-2] not in ((), kspace.shape[:1]):
        expected = f"{kspace.shape[1:]} or {kspace.shape} as kspace.npy"
        raise InputError("mask.npy", expected, str(mask.shape), "make them fit")
    masks = np.broadcast_to(mask, kspace.shape).astype(np.float32)
    if np.abs(kspace[masks == 0]).max(initial=0.0) > 1e-6 * np.abs(kspace).max():
        remedy = "zero what was not sampled, or correct the mask"
        raise InputError("kspace.npy", "zero where the mask is 0", "measurements there", remedy)
    truth = _truth(directory / "truth.npy", kspace.shape)
    y = torch.from_numpy(kspace.astype(np.complex64))
    found = External(torch.from_numpy(masks), y, truth, description.noise_std)
    _check_convention(found)
    return found


def _truth(path: Path, shape: tuple[int, ...]) -> torch.Tensor | None:
    if not path.exists():
        return None
    truth = _array(path, "images (n, H, W)", "f", (3,))
    if truth.shape != shape:
        raise InputError("truth.npy", f"images {shape}", str(truth.shape), "make them fit")
    if truth.min() < 0 or truth.max() > 1:
        got = f"values from {truth.min():.3g} to {truth.max():.3g}"
        remedy = "divide by the volume's 99.9th percentile and clip; scale kspace.npy alike"
        raise InputError("truth.npy", "images in [0, 1]", got, remedy)
    return torch.from_numpy(truth.astype(np.float32))


def _check_convention(external: External) -> None:
    """Another FFT convention or scale would make every attack fail, and look like privacy."""
    masks, noise = external.masks, 2 * external.noise_std**2
    expected = "the centred orthonormal DFT of images in [0, 1], see docs/data.md"
    remedy = "shift, scale or conjugate kspace.npy so that it is"
    if external.truth is None:
        brightest = float(zero_fill(external.kspace).abs().max())
        if brightest > _BRIGHTEST:
            got = f"a zero-filled image as bright as {brightest:.3g}"
            raise InputError("kspace.npy", expected, got, remedy)
        return
    clean = masks * fft2c(external.truth)
    n = float(masks.sum())
    error = float((external.kspace - clean).abs().square().sum()) / n
    energy = float(clean.abs().square().sum()) / n
    if error > _NOISE_MARGIN * noise + _RELATIVE_MARGIN * energy:
        got = f"a mean squared difference of {error:.3g} from that of truth.npy, noise {noise:.3g}"
        raise InputError("kspace.npy", expected, got, remedy)


def _array(path: Path, expected: str, kinds: str, ndim: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.array(open_npy(path, expected, path.name))
    except FileNotFoundError:
        raise InputError(str(path), expected, "no such file", "check --external") from None
    if array.dtype.kind not in kinds:
        raise InputError(path.name, expected, str(array.dtype), "save an array of that kind")
    if array.ndim not in ndim or array.size == 0:
        raise InputError(path.name, expected, str(array.shape), "make it fit")
    if not np.isfinite(array).all():
        raise InputError(path.name, "finite values", "NaN or infinity", "fix it")
    return array
