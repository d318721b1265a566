"""Sums of segmentation scores that one patient moves by a bounded amount, and their reading."""

import math
from collections.abc import Mapping

import numpy as np

from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.noised_histogram import bounded
from infomri_core.summaries.overlap import N_BINS, agreement, brier, dice
from infomri_core.tasks.outlining.scores import parts
from infomri_core.tasks.task import Floats, Ints
from infomri_core.tasks.values import Family

FAMILIES = {
    "agreement": Family((2,), 2, 0.4),
    "dice": Family((2,), 2, 0.15),
    "bins": Family((N_BINS,), 1, 0.06),
    "brier": Family((), 1, 0.04),
    "outlined": Family((), 1, 0.04),
}
"""Agreement and Dice as deviations and their squares, each at most one for a patient; the bins'
probability less outlined share, whose absolute values sum to one at most; the Brier score; and
which share of a patient's slices anyone outlined."""
_REACH, _LEAST, _CLEAR = 3.0, 1e-3, 2.0
_FINE = 0.02
"""Standard deviation of the noise up to which calibration is said, of which 0.02 is much."""


def reaches(evidence: Floats | None) -> Floats:
    """Of agreement and Dice the mean and three standard deviations, (2, 2)."""
    known = np.zeros(0, bool) if evidence is None else parts(evidence)[0]
    if evidence is None or not known.any():
        return np.array([[0.0, 2.0], [0.5, 0.5]])
    columns = parts(evidence)[1][known]
    values = np.stack((agreement(columns), dice(columns)))
    reach = np.maximum(_REACH * values.std(1), _LEAST)
    return np.stack((values.mean(1), reach), axis=1)


def bounded_sums(evidence: Floats, mass: Ints, reference: Floats) -> dict[str, Ints]:
    """The ``FAMILIES`` of slices that weigh ``mass`` (n,). What is cut to whole numbers is cut
    towards zero, slice by slice, so that no norm grows."""
    known, columns, bins = parts(evidence)
    weight = mass * known
    found = {"outlined": weight, "brier": np.fix(weight * brier(columns))}
    of = {"agreement": agreement(columns), "dice": dice(columns)}
    for (name, values), (middle, reach) in zip(of.items(), reference):
        x = ((values - middle) / reach).clip(-1, 1)
        found[name] = np.stack([np.fix(weight * v) for v in (x, x**2)], axis=1)
    error = bins[:, 0, :, 0] - bins[:, 0, :, 1]
    error /= np.maximum(1.0, np.sqrt((error**2).sum(1)))[:, None]
    found["bins"] = np.fix(weight[:, None] * error)
    return {name: found[name].astype(np.int64).sum(0) for name in FAMILIES}


def from_noised(
    sums: Mapping[str, Floats], variance: Mapping[str, float], cell: int, reference: Floats
) -> dict[str, Estimate]:
    """Figures of one cell. A patient is one observation, whose spread the squares of its slices
    bound; only the outlined share of its slices counts, which is the same in all cells."""
    outlined = sums["outlined"]
    n, of_count = float(outlined.mean()), variance["outlined"] / len(outlined)
    if n < max(1.0, _CLEAR * math.sqrt(of_count)):
        return {}
    found: dict[str, Estimate] = {}
    ends = {"agreement": (-3.0, 3.0), "dice": (0.0, 1.0)}
    for (family, within), (middle, reach) in zip(ends.items(), reference):
        mean, square = sums[family][cell] / n
        noise = (variance[family] + mean**2 * of_count) / n**2
        spread = math.sqrt(max(0.0, square - mean**2) / n + noise) * float(reach)
        name = "dsc" if family == "dice" else family
        found[name] = bounded(float(middle + mean * reach), spread, *within)
    if math.sqrt(N_BINS * variance["bins"]) / n <= _FINE:
        # What noise adds to the square of a bin is taken off again.
        clear = np.sqrt(np.maximum(sums["bins"][cell] ** 2 - variance["bins"], 0)).sum() / n
        found["ece"] = Estimate(float(np.clip(clear, 0, 1)))
    if math.sqrt(variance["brier"]) / n <= _FINE:
        found["brier"] = Estimate(float(np.clip(sums["brier"][cell] / n, 0, 1)))
    return found
