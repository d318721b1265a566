"""A slice's sampled outlines, as pictures."""

import numpy as np
import torch
from scipy.ndimage import binary_erosion

from dashboard.reading.single_scan import slice_of
from dashboard.reading.trained_study import TrainedStudy
from infomri_core.inference.inference import sampling_ratio
from infomri_core.inference.scans import Scan
from infomri_core.inference.segments import Segments, segment
from infomri_core.randomness.seeds import torch_generator

_RED = np.array([1.0, 0.25, 0.2])


@torch.no_grad()
def outlines_of(
    study: TrainedStudy,
    scan: Scan,
    number: int,
    arm: str,
    acceleration: float,
    n_samples: int,
    seed: int,
) -> Segments:
    """``n_samples`` outlines of a slice of ``scan`` under ``arm``, all of one measurement."""
    ratio = sampling_ratio(study.plan, acceleration)
    generator = torch_generator(seed, "outlines", arm, acceleration)
    chosen = slice_of(scan, number)[None]
    return segment(study.model(arm), chosen, ratio, generator, n_samples)


def drawn(found: Segments, label: int) -> np.ndarray:
    """The first slice's zero-filled image (H, W, 3) in [0, 1] with every sample's outline of class
    ``label`` in red, the redder the more samples have it there."""
    inside = found.samples[0] == label
    edges = np.stack([mask & ~binary_erosion(mask) for mask in inside])
    share = np.sqrt(edges.mean(0))[..., None]
    picture: np.ndarray = found.seen[0][..., None] * (1 - share) + _RED * share
    return picture.clip(0, 1)


def spread(found: Segments, label: int) -> float:
    """The mean 1 - IoU of two samples of the first slice; two empty ones agree."""
    masks = (found.samples[0] == label).reshape(len(found.samples[0]), -1).astype(np.float64)
    common, area = masks @ masks.T, masks.sum(1)
    union = area[:, None] + area - common
    distance = np.where(union > 0, 1 - common / np.maximum(union, 1), 0)
    n = len(masks)
    return float(distance.sum() / max(1, n * (n - 1)))
