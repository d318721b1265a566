"""One slice through the whole chain: mask, zero-filled image, attack, diagnosis."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from dashboard.reading.trained_study import TrainedStudy
from infomri_core.data.phantom.ambiguous import DISC
from infomri_core.inference.inference import (
    Diagnosis,
    diagnose_images,
    diagnose_kspace,
    sampling_ratio,
)
from infomri_core.inference.reconstruct import Rebuilt, rebuilt_from
from infomri_core.inference.scans import Scan, open_scan
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import ifft2c, zero_fill
from infomri_core.randomness.seeds import torch_generator
from infomri_core.system.errors import InputError

FINDING_SLICES = 4


@dataclass(frozen=True)
class Trial:
    """What was measured of one slice, and what became of it. Images are (H, W) in [0, 1].
    ``images``: what the arm itself rebuilds of the same measurement, where it is made for that."""

    truth: np.ndarray
    mask: np.ndarray
    zero_filled: np.ndarray
    rebuilt: np.ndarray
    attack: str
    psnr: float
    diagnosis: Diagnosis
    images: Rebuilt | None = None


def phantom(study: TrainedStudy, seed: int) -> Scan:
    """A patient no one trained on: ``FINDING_SLICES`` slices of the study's size.

    ``InputError`` where the study's slices are not square, as phantoms are.
    """
    height, width = study.plan.task.shape
    if height != width:
        remedy = "drop a file of the study's shape"
        raise InputError("phantom", "square slices", f"{height} x {width}", remedy)
    scan = open_scan(phantom_uri(study, seed), (height, width))
    return Scan(scan.name, first_patient(scan), 1.0, "a phantom patient", False)


def phantom_uri(study: TrainedStudy, seed: int) -> str:
    """The data URI of the phantom patient number ``seed``."""
    size = study.plan.task.shape[0]
    options = f"patients=2&slices={FINDING_SLICES}&size={size}&seed={seed}&prevalence=0.6"
    if set(study.plan.task.outline_names) == {DISC}:
        options += "&ambiguous=yes"
    return f"phantom:?{options}&hospital=visitor"


def first_patient(scan: Scan) -> np.ndarray:
    """Images (n, H, W) of the first ``FINDING_SLICES`` slices."""
    return next(scan.batches())[:FINDING_SLICES].numpy()


@torch.no_grad()
def run(
    study: TrainedStudy,
    scan: Scan,
    number: int,
    arm: str,
    acceleration: float,
    attack: str,
    n_draws: int,
    seed: int,
) -> Trial:
    """Measure slice ``number`` of ``scan`` under ``arm``; rebuild it, and diagnose ``n_draws``
    measurements. Raises ``InputError`` for an acceleration the arm was not trained for."""
    ratio = sampling_ratio(study.plan, acceleration)
    model = study.model(arm)
    generator = torch_generator(seed, "trial", arm, acceleration)
    slice_ = slice_of(scan, number)[None]
    truth = ifft2c(slice_).abs() if scan.is_kspace else slice_
    if scan.is_kspace:
        found = model.acquire_kspace(slice_, ratio, 0.0, generator)
        diagnosis = diagnose_kspace(model, slice_, ratio, generator, n_draws)
    else:
        found = model.acquire(slice_, ratio, generator)
        diagnosis = diagnose_images(model, slice_, ratio, generator, n_draws)
    rebuilt = study.adversaries.attacks[attack].reconstruct(found.y, found.mask)
    return Trial(
        truth[0].clamp(0, 1).numpy(),
        found.mask[0].numpy(),
        zero_fill(found.y)[0].abs().clamp(0, 1).numpy(),
        rebuilt[0].clamp(0, 1).numpy(),
        attack,
        float(psnr(rebuilt, truth)[0]),
        diagnosis,
        rebuilt_from(model, found.y, found.mask, truth),
    )


def slice_of(scan: Scan, number: int) -> torch.Tensor:
    """Slice ``number`` of a scan, (H, W), an image or k-space as the scan is."""
    passed = 0
    for batch in scan.batches():
        if number < passed + len(batch):
            return batch[number - passed]
        passed += len(batch)
    raise InputError("slice", f"0 .. {passed - 1}", str(number), "choose another")


def n_slices(scan: Scan) -> int:
    """How many slices a scan has."""
    return len(scan.source)


def answers(
    labels: tuple[str, ...], diagnosis: Diagnosis, what: str = "probability"
) -> list[dict[str, object]]:
    """One line a label: its probability, or ``what`` the answer is, and its standard deviation
    over the draws."""
    return [
        {
            "finding" if what == "probability" else "answer": name,
            what: float(mean),
            "± over draws": None if math.isnan(spread) else float(spread),
        }
        for name, mean, spread in zip(labels, diagnosis.mean[0], diagnosis.spread[0])
    ]


def picture(image: np.ndarray, pixels: int = 320) -> np.ndarray:
    """An image (H, W) in [0, 1] as uint8, each value a square of whole pixels."""
    zoom = max(1, -(-pixels // max(image.shape)))
    grey = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return np.kron(grey, np.ones((zoom, zoom), np.uint8))


def coloured(image: np.ndarray, pixels: int = 320) -> np.ndarray:
    """An image (H, W, 3) in [0, 1] as uint8, each value a square of whole pixels."""
    return np.stack([picture(image[..., channel], pixels) for channel in range(3)], axis=-1)
