"""Images to [0, 1]: divided by their volume's 99.9th percentile, then clipped."""

import math
from collections.abc import Iterable

import numpy as np

from infomri_core.system.errors import InputError

PERCENT = 99.9
_LEAST, _MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def streamed_percentile(
    chunks: Iterable[np.ndarray], n_values: int, percent: float = PERCENT
) -> float:
    """The percentile of ``n_values`` values that arrive in pieces, exact (linear interpolation).

    Equals ``np.percentile`` of all values at once, holding only the largest (1 - percent/100)
    of them beside one chunk.
    """
    rank = percent / 100.0 * (n_values - 1)
    n_keep = n_values - math.floor(rank)
    top = np.empty(0, dtype=np.float64)
    for chunk in chunks:
        top = np.concatenate([top, _largest(np.asarray(chunk).ravel(), n_keep)])
        top = _largest(top, n_keep)
    top.sort()
    weight = rank - math.floor(rank)
    return float(top[0] if weight == 0.0 else top[0] * (1.0 - weight) + top[1] * weight)


def volume_scale(slices: Iterable[np.ndarray], n_slices: int, where: str) -> float:
    """The 99.9th percentile of a volume's ``n_slices`` slices, read one after another.

    ``InputError`` on NaN or infinite values, and on a volume that is zero all over, or whose scale
    is no number of float32: divided by it, images would be NaN.
    """

    def finite(number: int, image: np.ndarray) -> np.ndarray:
        if not np.isfinite(image).all():
            raise InputError(
                f"{where} slice {number}", "finite values", "NaN or inf", "fix or drop the slice"
            )
        return image

    iterator = iter(slices)
    first = next(iterator)
    chunks = (finite(i, image) for i, image in enumerate(_chain(first, iterator)))
    scale = streamed_percentile(chunks, n_slices * first.size)
    if not _LEAST <= scale <= _MOST:
        raise InputError(
            where,
            "an image with signal",
            f"a {PERCENT}th percentile of {scale:g}",
            "drop the empty volume, or store it on a usual scale",
        )
    return scale


def normalise(images: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Images divided by ``scale`` (broadcast) and clipped to [0, 1], float32."""
    return np.clip(images / np.asarray(scale, dtype=np.float32), 0.0, 1.0).astype(np.float32)


def _chain(first: np.ndarray, rest: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    yield first
    yield from rest


def _largest(values: np.ndarray, n_keep: int) -> np.ndarray:
    if values.size > n_keep:
        values = np.partition(values, values.size - n_keep)[values.size - n_keep :]
    return values.astype(np.float64)
