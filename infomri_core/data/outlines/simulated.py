"""Simulated raters: several outlines of a slice, made from the one that is stored.

No set of MR images with several raters can be had freely. What is simulated is called so
wherever it is reported: what it says of calibration, it says of this simulation.
"""

import hashlib
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from infomri_core.data.base import ABSENT, SliceDataset
from infomri_core.system.errors import InputError

BIAS, REACH, LENGTH, FAINT = 0.75, 1.5, 6.0, 0.05
"""Pixels of a 64 x 64 image: spread of a rater's own bias, and of how far the outline wanders;
length over which it wanders alike; and the step of grey a pixel at which an edge is clear."""


@final
class SimulatedRaters(SliceDataset):
    """``dataset`` with ``n_raters`` outlines in place of one.

    Rater j draws the boundary at signed distance d + b_j + a(x) g = 0: b_j is his own bias, the
    same on all slices, g a smooth field of unit variance of each slice, and a(x) falls with the
    image's gradient, so that faint edges are where raters differ. A slice's raters are the same
    however the data are opened.
    """

    simulated_raters = True

    def __init__(self, dataset: SliceDataset, n_raters: int, where: str) -> None:
        if not dataset.mask_names or dataset.n_raters > 1:
            got = "none" if not dataset.mask_names else f"those of {dataset.n_raters} raters"
            raise InputError(f"{where} raters", "outlines of one rater", got, "drop raters=")
        self._inner = dataset
        self.table, self.shape = dataset.table, dataset.shape
        self.mask_names, self.n_raters = dataset.mask_names, n_raters
        self._place = _places(dataset.table.patients)
        self._drawn: dict[int, np.ndarray] = {}

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._inner.images(indices)

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._inner.masks(indices)

    def check(self, indices: np.ndarray) -> None:
        self._inner.check(indices)

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        rows = np.asarray(indices, dtype=np.int64)
        missing = np.array([r for r in np.unique(rows) if r not in self._drawn], np.int64)
        if len(missing):
            stored, images = self._inner.ratings(missing)[:, 0], self.images(missing)
            for row, outlines, image in zip(missing.tolist(), stored.numpy(), images.numpy()):
                drawn = rate(outlines, image, self.n_raters, self._place[row])
                self._drawn[row] = np.packbits(drawn) if drawn is not None else np.zeros(0, "u1")
        whole = [self._unpacked(self._drawn[row]) for row in rows.tolist()]
        return torch.from_numpy(np.stack(whole)) if whole else super().ratings(indices)

    def _unpacked(self, packed: np.ndarray) -> np.ndarray:
        shape = (self.n_raters, len(self.mask_names), *self.shape)
        if not len(packed):
            return np.full(shape, ABSENT, np.uint8)
        return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)


def rate(outlines: np.ndarray, image: np.ndarray, n_raters: int, seed: int) -> np.ndarray | None:
    """Outlines (R, M, H, W) uint8 that ``n_raters`` draw of an ``image`` (H, W) with ``outlines``
    (M, H, W); None where no one outlined it. An empty outline stays empty."""
    if (outlines == ABSENT).any():
        return None
    unit = min(image.shape) / 64
    slope = np.hypot(*np.gradient(gaussian_filter(image.astype(np.float64), unit))) * unit
    reach = REACH * unit * np.exp(-slope / FAINT)
    generator = np.random.default_rng(seed)
    result = np.zeros((n_raters, *outlines.shape), np.uint8)
    for rater in range(n_raters):
        bias = BIAS * unit * np.random.default_rng([977, rater]).standard_normal()
        for number, outline in enumerate(outlines):
            field = gaussian_filter(generator.standard_normal(image.shape), LENGTH * unit)
            field /= max(float(field.std()), 1e-9)
            if outline.any():
                distance = _signed_distance(outline > 0)
                result[rater, number] = distance + bias + reach * field > 0
    return result


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    """Pixels to the boundary, positive inside."""
    if inside.all():
        return np.full(inside.shape, float(max(inside.shape)))
    found: np.ndarray = distance_transform_edt(inside) - distance_transform_edt(~inside)
    return found - np.where(inside, 0.5, -0.5)


def _places(patients: np.ndarray) -> list[int]:
    """A seed for each slice: of its patient, and its number among the patient's slices."""
    seen: dict[str, int] = {}
    found = []
    for patient in patients.astype(str).tolist():
        seen[patient] = number = seen.get(patient, -1) + 1
        digest = hashlib.sha256(
            f"raters\x1f{number}\x1f{patient}".encode("utf-8", "surrogateescape")
        )
        found.append(int.from_bytes(digest.digest()[:8], "big"))
    return found
