"""AUROC from histograms of scores under noise: of a patient as one observation, with intervals.

No torch here: anyone who reads noised sums needs none.
"""

import numpy as np
import numpy.typing as npt

from infomri_core.summaries.jackknife import Estimate

Floats = npt.NDArray[np.float64]

_Z = 1.959963984540054
_CLEAR = 2.0
"""Standard deviations of noise that a number of patients must exceed to be one."""


def auroc_under_noise(counts: Floats, cell: int, noise: float) -> Estimate:
    """Mean AUROC over the labels that have one, each patient's slices together one observation;
    undefined where the noise hides who is ill.

    ``counts`` (C, L, 2, bins) of all cells are in patients, ``noise`` is the variance of the noise
    of each number.
    """
    found = [
        read
        for negative, positive in _consistent(counts)[cell]
        if (read := _auroc(negative, positive, noise, len(counts))) is not None
    ]
    if not found:
        return Estimate(None)
    value, by_patients, by_noise = (np.array(part) for part in zip(*found))
    # The labels' noises are independent; their patients are the same ones.
    spread = np.sqrt(np.sqrt(by_patients).mean() ** 2 + by_noise.mean() / len(found))
    return bounded(float(value.mean()), float(spread), 0.0, 1.0)


def bounded(value: float, spread: float, least: float, most: float) -> Estimate:
    """A value with its 95 % interval by the standard deviation ``spread``, all within bounds."""
    ends = np.array([value, value - _Z * spread, value + _Z * spread]).clip(least, most)
    return Estimate(float(ends[0]), float(ends[1]), float(ends[2]))


def _consistent(counts: Floats) -> Floats:
    """The histograms with the same number of patients with and without a finding in every cell,
    as they are the same patients: less noise for nothing."""
    totals = counts.sum(-1, keepdims=True)
    consistent: Floats = counts + (totals.mean(0, keepdims=True) - totals) / counts.shape[-1]
    return consistent


def _auroc(
    negative: Floats, positive: Floats, noise: float, n_cells: int
) -> tuple[float, float, float] | None:
    """AUROC of one label from noised counts (bins,), and its variances by patients (Hanley and
    McNeil 1982, whose formula needs no shape of the scores) and by noise (first order)."""
    n_negative, n_positive = float(negative.sum()), float(positive.sum())
    least = max(1.0, _CLEAR * np.sqrt(noise * len(negative) / n_cells))
    if min(n_negative, n_positive) < least:
        return None
    below = (np.cumsum(negative) - negative / 2) / n_negative
    above = (n_positive - np.cumsum(positive) + positive / 2) / n_positive
    value = float((positive * below).sum() / n_positive)
    by_noise = noise * (
        _moved(below - value, n_cells) / n_positive**2
        + _moved(above - value, n_cells) / n_negative**2
    )
    a = float(np.clip(value, 0, 1))
    both, same = a / (2 - a) - a**2, 2 * a**2 / (1 + a) - a**2
    parts = a * (1 - a) + (n_positive - 1) * both + (n_negative - 1) * same
    return value, max(0.0, float(parts / (n_positive * n_negative))), float(by_noise)


def _moved(slope: Floats, n_cells: int) -> float:
    """Variance of sum_b slope_b noise_b for unit noise whose total is a mean over the cells."""
    mean = slope.mean()
    return float(((slope - mean) ** 2).sum() + len(slope) * mean**2 / n_cells)
