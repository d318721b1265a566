"""Weights as elements of Z/2^64: the same fixed point in which the plain mean is summed."""

import numpy as np

SCALE = 2**24
_CHUNK = 2**20


def to_ring(flat: np.ndarray, n_samples: int, n_sites: int = 1) -> np.ndarray:
    """Uint64 (n + 1,): ``n_samples`` x float32 (n,) in multiples of 2^-24, then ``n_samples``.

    Sums of such vectors over ``n_sites`` are exact: raises ``ValueError`` when a value is not
    finite, or samples x largest weight passes this site's part of the 2^39 that have room.
    """
    largest = float(np.abs(flat).max(initial=0.0))
    room = 2.0**39 / n_sites
    if not np.isfinite(largest) or n_samples < 1 or largest * n_samples >= room:
        raise ValueError(f"expected finite weights with samples x largest below {room:.3g}")
    ring = np.empty(len(flat) + 1, dtype=np.uint64)
    for start in range(0, len(flat), _CHUNK):
        steps = np.rint(flat[start : start + _CHUNK].astype(np.float64) * SCALE)
        ring[start : start + len(steps)] = (steps.astype(np.int64) * n_samples).view(np.uint64)
    ring[-1] = n_samples
    return ring


def mean_from_ring(total: np.ndarray) -> tuple[np.ndarray, int]:
    """The sample-weighted mean, float32 (n,), and all samples, of a sum of :func:`to_ring`."""
    n_samples = int(total[-1])
    if n_samples == 0:
        raise ValueError("the mean of no sample is undefined")
    mean = np.empty(len(total) - 1, dtype=np.float32)
    for start in range(0, len(mean), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(mean)))
        mean[part] = total[part].view(np.int64) / (float(SCALE) * n_samples)
    return mean, n_samples
