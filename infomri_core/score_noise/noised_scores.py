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

from infomri_core.score_noise.mechanism import Cell, Form, Ints, noise_std
from infomri_core.summaries.jackknife import Estimate
from infomri_core.summaries.noised_histogram import bounded
from infomri_core.tasks.figures import Figures
from infomri_core.tasks.task import UNIT

Floats = npt.NDArray[np.float64]

MAX_SUM = 2**50


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
        counted and, where the task's own sums say it too, from these."""
        counted, noise = self.sums["counts"][0] / UNIT, self.variance["counts"]
        also = self.form.task.counted(self._of_task(), self.variance)
        if also is None:
            return max(1.0, float(counted)), noise
        held, held_noise = also
        trust = held_noise / (noise + held_noise) if noise + held_noise else 0.5
        value = trust * counted + (1 - trust) * held
        return max(1.0, float(value)), trust**2 * noise + (1 - trust) ** 2 * held_noise

    def figures(self, cell: Cell, reference: Floats) -> Figures:
        """The task's figures in one cell, with intervals; ``reference`` (C, ...) is what the sites
        bounded by."""
        place = self.form.scored.index(cell)
        given = (self._of_task(), self.variance, place, self.n_patients(), reference[place])
        return self.form.task.noised_estimates(*given)

    def _of_task(self) -> dict[str, Floats]:
        """The task's sums, in patients."""
        return {name: self.sums[name] / UNIT for name in self.form.task.families()}

    def psnr(self, cell: Cell, expected: Floats, clip_db: float) -> dict[str, Estimate]:
        """Mean PSNR in dB of each attack and floor in one cell, with its 95 % interval;
        ``expected`` and ``clip_db`` are those that the sites clipped by."""
        form, n = self.form, self.n_patients()[0]
        if not form.n_quality or cell not in form.cells:
            return {}
        scale = clip_db * np.sqrt(form.n_quality)
        deviation = scale * (self.sums["quality"] / UNIT) / n
        spread = np.sqrt(self._variance_of(deviation, scale))
        first = form.cells.index(cell) * len(form.attacks)
        floors = len(form.cells) * len(form.attacks)
        places = {name: first + i for i, name in enumerate(form.attacks)}
        places |= {name: floors + i for i, name in enumerate(form.floors)}
        return {
            name: bounded(float(expected[i] + deviation[i]), float(spread[i]), 0.0, 50.0)
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
