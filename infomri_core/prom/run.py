"""``infomri prom``: solves, holds the mask against what needs no solving, and writes both."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from infomri_core.patterns.spectrum import KINDS, spectrum_mask
from infomri_core.physics.covariance import mean_energy
from infomri_core.prom.inputs import MaskImages
from infomri_core.prom.options import ProMOptions
from infomri_core.prom.scoring import MEASURES, Rebuild, by_zero_filling, score_images
from infomri_core.prom.solve import Solution, combine, solve
from infomri_core.reconstruction.linear import hermitian_filled
from infomri_core.system.files import write_atomically
from infomri_core.system.progress import Progress


def find_mask(
    images: MaskImages, options: ProMOptions, seeds: list[int], device: str, progress: Progress
) -> Solution:
    """The mask of independent runs, one a seed: the mode of their mean."""
    fitted = images.fitted.to(device)
    solutions = []
    total = options.steps * len(seeds)
    with progress.phase("solving", unit="steps", total=total) as advance:
        for seed in seeds:
            solutions.append(solve(fitted, options, seed=seed, advance=advance))
    return combine(solutions)


def compare_mask(images: MaskImages, solution: Solution) -> dict[str, dict[str, float]]:
    """Mean PSNR (dB), SSIM and NMSE on the images to score: of the mask, and of masks of as many
    points, or columns, that follow from the mean energy of the images alone."""
    energy = mean_energy(images.fitted, torch.float64)
    if solution.constraint == "1d":
        energy = energy.sum(0, keepdim=True)
    closed = {kind: spectrum_mask(energy, solution.budget, kind) for kind in KINDS}
    rows: dict[str, tuple[torch.Tensor, Rebuild]] = {
        "ProM": (solution.mask.cpu(), by_zero_filling),
        "highest energy": (closed["both"], by_zero_filling),
        "highest gain": (closed["gain"], by_zero_filling),
        "one of each pair, Hermitian completion": (closed["one-sided"], hermitian_filled),
    }
    shape = solution.mask.shape
    rows = {name: (mask.expand(shape), rebuild) for name, (mask, rebuild) in rows.items()}
    return {
        name: dict(zip(MEASURES, score_images(images.scored, mask, rebuild).mean(0).tolist()))
        for name, (mask, rebuild) in rows.items()
    }


def write_mask(folder: Path, solution: Solution, description: dict[str, Any]) -> list[Path]:
    """Write mask.npy (H, W) of 0 and 1, mask.png, probability.npy (H, W) and prom.json."""
    mask = solution.mask.cpu().numpy().astype(np.uint8)
    picture = io.BytesIO()
    Image.fromarray(mask * 255).save(picture, "PNG")
    files = {
        "mask.npy": _npy(mask),
        "mask.png": picture.getvalue(),
        "probability.npy": _npy(solution.theta.cpu().float().numpy()),
        "prom.json": (json.dumps(description, indent=2) + "\n").encode(),
    }
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
