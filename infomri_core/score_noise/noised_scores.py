"""What leaves a site of its scored patients under noise, and what can be read from it.

Sums of all sites add up, number by number, and so does the variance of their noise. Intervals hold
both uncertainties: that of the patients, by the figures' own formulas with a patient as one
observation, and that of the noise, which is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from infomri_core.score_noise.mechanism import N_BINS, UNIT, Cell, Form, Ints, noise_std

Floats = npt.NDArray[np.float64]
Interval = tuple[float | None, float | None, float | None]

MAX_SUM = 2**50
_Z = 1.959963984540054
_CLEAR = 2.0
"""Standard deviations of noise that a number of patients must exceed to be one."""


@final
@dataclass(frozen=True)
class NoisedScores:
    """Sums by family (:meth:`Form.shapes`), int64 in units of ``UNIT`` a patient, and the
    ``variance`` of the noise of each number, by family, in patients squared."""

    form: Form
    sums: Mapping[str, Ints]
    variance: Mapping[str, float]

    @classmethod
    def of(cls, form: Form, sums: Mapping[str, Ints], multiplier: float) -> "NoisedScores":
        """One site's sums under noise of ``multiplier``; 0 for none."""
        found = noise_std(form, multiplier) if multiplier else dict.fromkeys(form.shapes(), 0.0)
        return cls(form, sums, {family: (std / UNIT) ** 2 for family, std in found.items()})

    def merge(self, other: "NoisedScores") -> "NoisedScores":
        """Both sites' sums, with both noises."""
        if self.form != other.form:
            raise ValueError("noised scores of different forms")
        return NoisedScores(
            self.form,
            {family: array + other.sums[family] for family, array in self.sums.items()},
            {family: v + other.variance[family] for family, v in self.variance.items()},
        )

    def n_patients(self) -> tuple[float, float]:
        """How many patients, at least one, and the variance of that number's noise: from what was
        counted and from the histograms, which hold each patient once a cell and label."""
        counted, noise = self.sums["counts"][0] / UNIT, self.variance["counts"]
        n_blocks = len(self.form.cells) * self.form.n_labels
        held = float(self.sums["scores"].sum()) / UNIT / n_blocks
        held_noise = self.variance["scores"] * 2 * N_BINS / n_blocks
        trust = held_noise / (noise + held_noise) if noise + held_noise else 0.5
        value = trust * counted + (1 - trust) * held
        return max(1.0, float(value)), trust**2 * noise + (1 - trust) ** 2 * held_noise

    def auroc(self, cell: Cell) -> Interval:
        """Mean AUROC over the labels that have one, each patient's slices together one
        observation, with its 95 % interval; None where the noise hides who is ill."""
        counts = self._consistent()[self.form.cells.index(cell)]
        noise, n_cells = self.variance["scores"], len(self.form.cells)
        found = [
            read
            for negative, positive in counts
            if (read := _auroc(negative, positive, noise, n_cells)) is not None
        ]
        if not found:
            return None, None, None
        value, by_patients, by_noise = (np.array(part) for part in zip(*found))
        # The labels' noises are independent; their patients are the same ones.
        spread = np.sqrt(np.sqrt(by_patients).mean() ** 2 + by_noise.mean() / len(found))
        return _bounded(float(value.mean()), float(spread), 0.0, 1.0)

    def accuracy(self, cell: Cell) -> float | None:
        """Share of right decisions, a patient being one observation."""
        n, _ = self.n_patients()
        decided = self.sums["decided"][self.form.cells.index(cell)] / UNIT
        return float(np.clip(decided / n, 0, 1))

    def psnr(self, cell: Cell, expected: Floats, clip_db: float) -> dict[str, Interval]:
        """Mean PSNR in dB of each attack and floor in one cell, with its 95 % interval;
        ``expected`` and ``clip_db`` are those that the sites clipped by."""
        form, n = self.form, self.n_patients()[0]
        if not form.n_quality:
            return {}
        scale = clip_db * np.sqrt(form.n_quality)
        deviation = scale * (self.sums["quality"] / UNIT) / n
        spread = np.sqrt(self._variance_of(deviation, scale))
        first = form.cells.index(cell) * len(form.attacks)
        floors = len(form.cells) * len(form.attacks)
        places = {name: first + i for i, name in enumerate(form.attacks)}
        places |= {name: floors + i for i, name in enumerate(form.floors)}
        return {
            name: _bounded(float(expected[i] + deviation[i]), float(spread[i]), 0.0, 50.0)
            for name, i in places.items()
        }

    def clipped(self) -> float:
        """Share of patients whose image quality was clipped."""
        n, _ = self.n_patients()
        return float(np.clip(self.sums["counts"][1] / UNIT / n, 0, 1))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form: the sums alone; form and noise follow from plan and task."""
        return dict(self.sums)

    def _variance_of(self, deviation: Floats, scale: float) -> Floats:
        """Of each mean deviation: the patients' spread, pooled over cells and attacks, the noise
        of the sum, and that of the number of patients."""
        form, (n, count_noise) = self.form, self.n_patients()
        n_attacked = len(form.cells) * len(form.attacks)
        noise = scale**2 * self.variance["quality"] / n**2
        whole = scale**2 * float(self.sums["spread"][0]) / UNIT / n / max(1, n_attacked)
        within = whole - float((deviation[:n_attacked] ** 2).mean() if n_attacked else 0) + noise
        return np.asarray(max(0.0, within) / n + noise + deviation**2 * count_noise / n**2)

    def _consistent(self) -> Floats:
        """The histograms (C, L, 2, bins) in patients, with the same number of patients with and
        without a finding in every cell, as they are the same patients: less noise for nothing."""
        counts = self.sums["scores"] / UNIT
        totals = counts.sum(-1, keepdims=True)
        consistent: Floats = counts + (totals.mean(0, keepdims=True) - totals) / N_BINS
        return consistent


def _auroc(
    negative: Floats, positive: Floats, noise: float, n_cells: int
) -> tuple[float, float, float] | None:
    """AUROC of one label from noised counts (bins,), and its variances by patients (Hanley and
    McNeil 1982, whose formula needs no shape of the scores) and by noise (first order)."""
    n_negative, n_positive = float(negative.sum()), float(positive.sum())
    least = max(1.0, _CLEAR * np.sqrt(noise * N_BINS / n_cells))
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


def _bounded(value: float, spread: float, least: float, most: float) -> Interval:
    ends = np.array([value, value - _Z * spread, value + _Z * spread]).clip(least, most)
    return float(ends[0]), float(ends[1]), float(ends[2])


def noised_from(
    form: Form, arrays: Mapping[str, npt.NDArray[Any]], multiplier: float
) -> NoisedScores:
    """Read the message form of a reply of this ``form``; ``ValueError`` when it is not one."""
    shapes = form.shapes()
    if set(arrays) != set(shapes):
        raise ValueError(f"expected {', '.join(shapes)}")
    for family, shape in shapes.items():
        array = arrays[family]
        if array.dtype != np.int64 or array.shape != shape:
            raise ValueError(f"{family}: expected int64 {shape}, got {array.dtype} {array.shape}")
        if array.min() < -MAX_SUM or array.max() > MAX_SUM:
            raise ValueError(f"{family}: sums beyond any data set")
    return NoisedScores.of(form, arrays, multiplier)
