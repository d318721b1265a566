"""How well sampled segmentations agree with several raters, as sums over groups of patients.

With d = 1 - IoU, n samples and R raters of a slice: a is the mean of d between a sample and a
rater, b between two different samples, c between two different raters. The generalised energy
distance is GED_U = 2 a - b - c without bias, and GED_V = 2 a - b (1 - 1/n) - c (1 - 1/R) as it is
mostly published, which of a perfect model is c (1/n + 1/R). Of one rater c cannot be known, and
counts as zero: it does not depend on the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from infomri_core.summaries.cohorts import count_groups
from infomri_core.summaries.groups import coarser, pooled
from infomri_core.summaries.jackknife import Estimate, estimate
from infomri_core.summaries.metrics import MAX_COUNT

COLUMNS = (
    *("a", "b", "c", "b_of_n", "c_of_r"),
    *("floor", "fused", "dsc_pairs", "dsc", "iou", "brier"),
    *("a_levels", "b_levels"),
)
"""Of a slice: a, b, c; b (1 - 1/n) and c (1 - 1/R); the distance from the raters of the best
single mask that their votes can make, and of the model's own, fused one; Dice of pairs of sample
and rater; Dice and IoU of the fused masks; the Brier score of the pixels' probabilities; and a and
b of the mean probability's thresholds, as many as samples, taken for samples."""
N_BINS = 16
BANDS = ("all", "band")
"""Over all pixels, and over those near a boundary."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_AT = {name: i for i, name in enumerate(COLUMNS)}


@final
@dataclass(frozen=True)
class OverlapSummary:
    """Sums over groups of slices: ``overlap`` (G, columns), ``bins`` (G, 2, N_BINS, 3) of
    probability, outlined share and number of pixels as shares of a slice, ``weight`` (G,) slices
    that somebody outlined, of ``slices`` (G,)."""

    overlap: Floats
    bins: Floats
    weight: Ints
    slices: Ints

    @classmethod
    def empty(cls, n_groups: int) -> Self:
        """Of no slice."""
        return cls(
            np.zeros((n_groups, len(COLUMNS))),
            np.zeros((n_groups, len(BANDS), N_BINS, 3)),
            np.zeros(n_groups, np.int64),
            np.zeros(n_groups, np.int64),
        )

    def merge(self, other: Self) -> Self:
        """Both sites' groups, one after the other."""
        parts = zip(self.to_arrays().values(), other.to_arrays().values())
        return type(self)(*(np.concatenate(pair) for pair in parts))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {
            "overlap": self.overlap,
            "bins": self.bins,
            "weight": self.weight,
            "slices": self.slices,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read the message form; ``ValueError`` when it is not one: every number of a slice lies
        in [0, 1]."""
        if set(arrays) != {"overlap", "bins", "weight", "slices"}:
            raise ValueError("expected overlap, bins, weight and slices")
        overlap, bins, weight, slices = (
            arrays[name] for name in ("overlap", "bins", "weight", "slices")
        )
        n = len(weight)
        for name, array, shape in (
            ("overlap", overlap, (n, len(COLUMNS))),
            ("bins", bins, (n, len(BANDS), N_BINS, 3)),
        ):
            if array.dtype != np.float64 or array.shape != shape or not n:
                raise ValueError(f"{name}: expected float64 {shape}, got {array.shape}")
            room = weight.reshape(n, *[1] * (array.ndim - 1)) + 1e-6
            if not ((array >= 0) & (array <= room)).all():
                raise ValueError(f"{name}: what is counted of a slice must lie in [0, 1]")
        for array in (weight, slices):
            if array.dtype != np.int64 or array.shape != (n,) or array.min() < 0:
                raise ValueError("expected numbers of slices (G,) of int64")
        if (weight > slices).any() or slices.max() > MAX_COUNT:
            raise ValueError("more outlined slices than slices, or beyond any data set")
        return cls(overlap, bins, weight, slices)

    def pooled(self, target: Ints) -> Self:
        """With each group added to its ``target`` (G,), each mean to five decimals."""
        weight, slices = pooled(self.weight, target), pooled(self.slices, target)

        def rounded(sums: Floats) -> Floats:
            whole = pooled(sums, target)
            n = np.maximum(weight, 1).reshape(-1, *[1] * (whole.ndim - 1))
            found: Floats = (whole / n).round(5) * n
            return found

        return type(self)(rounded(self.overlap), rounded(self.bins), weight, slices)

    def released(
        self,
        patients: npt.NDArray[Any],
        slots: Ints,
        known: npt.NDArray[np.bool_],
        cohort: int,
    ) -> Self:
        """In groups of at least ``cohort`` patients of whom a slice is outlined (``known``, n).
        ``ValueError`` when it is not one of these slices in these groups."""
        behind = count_groups(patients[known], slots[known])
        if not np.array_equal(self.slices, count_groups(patients, slots).slices):
            raise ValueError("segmentations of other slices than the groups'")
        if not np.array_equal(self.weight, behind.slices):
            raise ValueError("segmentations of other slices than were outlined")
        whole = self.pooled(coarser(behind.patients[:, None], cohort))
        return type(self).from_arrays(whole.to_arrays())

    def estimates(self) -> dict[str, Estimate]:
        """Figures by name; those of agreement and Dice with intervals over groups."""
        n = self.weight.sum()
        if n < 1:
            return {}
        mean, without = self.overlap.sum(0) / n, self._left_out()
        found = {
            "agreement": estimate(float(agreement(mean)), agreement(without), self.weight),
            "dsc": estimate(
                float(mean[_AT["dsc"]]), without[:, _AT["dsc"]], self.weight, (0.0, 1.0)
            ),
        }
        values = {name: mean[_AT[name]] for name in ("dsc_pairs", "iou", "brier")}
        a, b, c = (mean[_AT[name]] for name in ("a", "b_of_n", "c_of_r"))
        values["ged_v"] = 2 * a - b - c
        values["ged_fixed"] = 2 * mean[_AT["fused"]] - mean[_AT["c"]]
        values["ged_floor"] = 2 * mean[_AT["floor"]] - mean[_AT["c"]]
        values["ged_levels"] = column(mean, "levels")
        values["sample_spread"], values["rater_spread"] = mean[_AT["b"]], mean[_AT["c"]]
        for band, bins in zip(BANDS, self.bins.sum(0)):
            values["ece" if band == "all" else "ece_band"] = calibration_error(bins)
        return found | {name: Estimate(float(value)) for name, value in values.items()}

    def difference(self, other: Self) -> Estimate:
        """The other's agreement less this one's, both without the same group at once."""
        n = self.weight.sum()
        if not np.array_equal(self.weight, other.weight) or n < 1:
            return Estimate(None)
        means = [summary.overlap.sum(0) / n for summary in (self, other)]
        left_out = agreement(other._left_out()) - agreement(self._left_out())
        value = float(agreement(means[1]) - agreement(means[0]))
        return estimate(value, left_out, self.weight)

    def _left_out(self) -> Floats:
        """The means (G, columns) without each group; NaN where nothing is left."""
        rest, left = self.overlap.sum(0) - self.overlap, self.weight.sum() - self.weight
        with np.errstate(divide="ignore", invalid="ignore"):
            means: Floats = rest / left[:, None]
        return means


def agreement(columns: Floats) -> Floats:
    """1 - GED_U of ``columns`` (..., columns), or of their means: 1 for a perfect model."""
    a, b, c = (columns[..., _AT[name]] for name in ("a", "b", "c"))
    found: Floats = 1 - (2 * a - b - c)
    return found


def column(columns: Floats, name: str) -> Floats:
    """One of ``columns`` (..., columns) by its name, or GED_U of the ``levels``."""
    if name == "levels":
        parts = (columns[..., _AT[part]] for part in ("a_levels", "b_levels", "c"))
        a, b, c = parts
        whole: Floats = 2 * a - b - c
        return whole
    found: Floats = columns[..., _AT[name]]
    return found


def dice(columns: Floats) -> Floats:
    """Dice of the fused masks of ``columns`` (..., columns)."""
    found: Floats = columns[..., _AT["dsc"]]
    return found


def brier(columns: Floats) -> Floats:
    """The Brier score of ``columns`` (..., columns)."""
    found: Floats = columns[..., _AT["brier"]]
    return found


def calibration_error(bins: Floats) -> float:
    """Expected calibration error of sums (N_BINS, 3) (InfoMRI, Eq. 46): the mean over pixels of
    |mean probability - outlined share| of their bin. NaN without pixels."""
    n = float(bins[:, 2].sum())
    return float(np.abs(bins[:, 0] - bins[:, 1]).sum() / n) if n > 0 else float("nan")
