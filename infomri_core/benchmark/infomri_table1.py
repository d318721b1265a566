"""The rows of InfoMRI's Table 1 that need no training: what every network there must beat."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from infomri_core.benchmark.benchmark import Benchmark, Budget, Figures, Request, Row
from infomri_core.patterns.radial import radial_mask
from infomri_core.patterns.spectrum import Kind, spectrum_mask
from infomri_core.physics.covariance import mean_energy
from infomri_core.physics.images import gaussian_ssim, psnr
from infomri_core.physics.kspace import fft2c
from infomri_core.prom.scoring import Rebuild, by_zero_filling
from infomri_core.reconstruction.linear import hermitian_filled
from infomri_core.system.errors import InputError

RATIOS = (0.15, 0.10, 0.05)
Mask = Callable[[torch.Tensor, int], torch.Tensor]
"""A mask (H, W) of so many points, from the energy (H, W) of the other images."""


def _radial(energy: torch.Tensor, n_points: int) -> torch.Tensor:
    return radial_mask((energy.shape[0], energy.shape[1]), n_points)


def _spectrum(kind: Kind) -> Mask:
    return lambda energy, n_points: spectrum_mask(energy, n_points, kind)


METHODS: Mapping[str, tuple[Mask, Rebuild]] = {
    "pseudo-radial, zero-filled": (_radial, by_zero_filling),
    "pseudo-radial + Hermitian": (_radial, hermitian_filled),
    "highest energy, zero-filled": (_spectrum("both"), by_zero_filling),
    "highest gain, zero-filled": (_spectrum("gain"), by_zero_filling),
    "one of each pair + Hermitian": (_spectrum("one-sided"), hermitian_filled),
}


class InfoMRITable1(Benchmark):
    """No noise, images in [0, 1], two folds: one half's energy makes the other half's mask."""

    name = "infomri-table1"
    reproduces = (
        "InfoMRI, Table 1, on its 50 test images: rows without training. Absolute; the masks in "
        "closed form know the mean energy of the other 25 images, no more."
    )
    data = "the 50 brain test images of ADMM-Net as (n, H, W), .npy, or .npz with 'image'"
    cost: ClassVar[Mapping[Budget, str]] = {"small": "1 CPU minute", "full": "the same"}
    published: ClassVar[Mapping[str, tuple[tuple[float, float], ...]]] = {
        "MD-Recon-Net, radial": ((37.25, 0.9360), (35.10, 0.9120), (31.05, 0.8250)),
        "PnP-Parallel-MRI, radial": ((37.33, 0.9388), (35.14, 0.9111), (31.01, 0.8221)),
        "ADMM-Net, radial": ((36.83, 0.9306), (34.46, 0.8972), (30.13, 0.7958)),
        "Self-Supervised, radial": ((36.58, 0.9218), (33.42, 0.8924), (30.18, 0.8068)),
        "ISTA-Net+, radial": ((37.07, 0.9343), (34.73, 0.9052), (30.64, 0.8176)),
        "LOUPE, learned": ((38.30, 0.9473), (36.88, 0.9381), (35.34, 0.9245)),
        "PUERT, learned": ((41.01, 0.9655), (39.23, 0.9565), (36.65, 0.9399)),
        "InfoMRI-PnP": ((40.08, 0.9529), (38.54, 0.9441), (35.66, 0.9215)),
        "InfoMRI-UNet": ((38.35, 0.9480), (36.93, 0.9391), (35.25, 0.9232)),
        "InfoMRI-Unroll": ((40.96, 0.9596), (39.22, 0.9591), (36.61, 0.9393)),
        "InfoMRI-Unroll-MSE": ((40.32, 0.9590), (38.61, 0.9492), (35.91, 0.9293)),
    }

    def rows(self, request: Request) -> Sequence[Row]:
        images = cache(lambda: read_images(Path(request.data)))
        return [
            Row(f"{name} | {ratio:.0%}", "no training, two folds", _run(images, *method, ratio))
            for name, method in METHODS.items()
            for ratio in RATIOS
        ]

    def table(self, found: Mapping[str, Figures]) -> str:
        head = ["PSNR dB (SSIM)", *(f"{ratio:.0%}" for ratio in RATIOS)]
        lines = [head, ["---"] * len(head)]
        for name in METHODS:
            lines.append([name, *(_cell(_of(found, name, ratio)) for ratio in RATIOS)])
        for name, published in self.published.items():
            lines.append([f"published: {name}", *map(_cell, published)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _of(found: Mapping[str, Figures], name: str, ratio: float) -> tuple[float, float] | None:
    figures = found.get(f"{name} | {ratio:.0%}")
    return None if figures is None else (figures["psnr"], figures["ssim"])


def _cell(values: tuple[float, float] | None) -> str:
    return "-" if values is None else f"{values[0]:.2f} ({values[1]:.4f})"


def read_images(path: Path) -> torch.Tensor:
    """Images (n, H, W) in [0, 1] of a file; whole numbers are divided by 255. ``InputError``."""
    try:
        held = np.load(path, allow_pickle=False)
        array = held["image"] if path.suffix == ".npz" else held
    except (OSError, ValueError, KeyError, EOFError) as error:
        expected = "images (n, H, W) in .npy, or .npz with 'image'"
        got = getattr(error, "strerror", None) or "a file that holds none"
        raise InputError(str(path), expected, got, "check the path") from None
    if array.ndim != 3 or len(array) < 2 or array.dtype.kind not in "uf":
        got = f"{array.dtype} {array.shape}"
        raise InputError(str(path), "two images (n, H, W) or more, real", got, "stack them")
    scale = 255.0 if array.dtype.kind == "u" else 1.0
    images = array.astype(np.float32) / scale
    if not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        got = f"values from {images.min():.4g} to {images.max():.4g}"
        raise InputError(str(path), "finite values in [0, 1], or 8-bit", got, "rescale them")
    return torch.from_numpy(images)


def _run(
    images: Callable[[], torch.Tensor], mask: Mask, rebuild: Rebuild, ratio: float
) -> Callable[[], Figures]:
    def run() -> Figures:
        halves = images().tensor_split(2)
        found = []
        for scored, fitted in (halves, halves[::-1]):
            energy = mean_energy(fitted, torch.float64)
            chosen = mask(energy, int(ratio * energy.numel()))
            rebuilt = rebuild(fft2c(scored) * chosen, chosen).clamp(0, 1)
            measured = [measure(rebuilt, scored) for measure in (psnr, gaussian_ssim)]
            found.append(torch.stack(measured, dim=1).double())
        means = torch.cat(found).mean(0).tolist()
        return dict(zip(("psnr", "ssim"), means))

    return run
