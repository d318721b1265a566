"""A slice's sampled outlines, as pictures."""

import numpy as np
import torch
from scipy.ndimage import binary_erosion

from dashboard.reading.single_scan import phantom_uri, slice_of
from dashboard.reading.trained_study import TrainedStudy
from infomri_core.data import open_dataset
from infomri_core.data.base import ABSENT
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


def raters_of(study: TrainedStudy, seed: int, number: int) -> np.ndarray | None:
    """The label maps (R, H, W) of those who outlined slice ``number`` of phantom patient ``seed``;
    None where its phantoms are not what the study outlines."""
    data = open_dataset(phantom_uri(study, seed))
    if study.plan.task.mismatch(data) is not None:
        return None
    found = study.plan.task.targets(data, np.array([number]))[0].numpy()
    return found[(found != ABSENT).all((1, 2))]


def drawn(image: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    """``image`` (H, W) as (H, W, 3) in [0, 1] with the outline of class ``label`` of each of the
    ``labels`` (n, H, W) in red, the redder the more have it there."""
    edges = np.stack([mask & ~binary_erosion(mask) for mask in labels == label])
    share = np.sqrt(edges.mean(0))[..., None]
    picture: np.ndarray = image[..., None] * (1 - share) + _RED * share
    return picture.clip(0, 1)


def spread(labels: np.ndarray, label: int) -> float:
    """The mean 1 - IoU of two of the ``labels`` (n, H, W); two empty ones agree."""
    masks = (labels == label).reshape(len(labels), -1).astype(np.float64)
    common, area = masks @ masks.T, masks.sum(1)
    union = area[:, None] + area - common
    distance = np.where(union > 0, 1 - common / np.maximum(union, 1), 0)
    n = len(masks)
    return float(distance.sum() / max(1, n * (n - 1)))
