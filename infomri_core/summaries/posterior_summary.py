"""How good reconstructions with a predicted variance are, as sums over groups of patients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from infomri_core.summaries.groups import SLOTS, pooled
from infomri_core.summaries.jackknife import Estimate, estimate
from infomri_core.summaries.metrics import MAX_COUNT

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LIMITS: Mapping[str, tuple[float, float]] = {
    "psnr": (0.0, 50.0),
    "ssim": (-1.0, 1.0),
    "nmse": (0.0, 10.0),
    "nll": (-10.0, 100.0),
    "covered_68": (0.0, 1.0),
    "covered_95": (0.0, 1.0),
    "ause": (0.0, 1.0),
    "spearman": (-1.0, 1.0),
}
"""The figures of one image and their ranges, into which they are clipped: PSNR in dB, NLL in nats
a pixel, shares of pixels within one and two standard deviations."""
N_BINS, PARTS = 8, 3
"""By bin of the predicted standard deviation: share of pixels, squared error, variance."""
N_NUMBERS = len(LIMITS) + N_BINS * PARTS
_LOWER, _UPPER = (np.array(ends) for ends in zip(*LIMITS.values()))
_LARGEST = np.array([1.0, 1e3, 1e3])


@final
@dataclass(frozen=True)
class PosteriorSummary:
    """``sums`` (G, 8) of the figures of ``LIMITS``, ``bins`` (G, 8, 3) of the shares by bin, and
    how many images they are of, ``weight`` (G,)."""

    sums: Floats
    bins: Floats
    weight: Ints

    @classmethod
    def of(cls, per_image: Floats, slots: Ints) -> Self:
        """Sums of the numbers (n, ``N_NUMBERS``) of images by ``slots`` (n,)."""
        total = np.zeros((SLOTS, N_NUMBERS))
        np.add.at(total, slots, per_image)
        n = len(LIMITS)
        bins = total[:, n:].reshape(SLOTS, N_BINS, PARTS)
        return cls(total[:, :n], bins, np.bincount(slots, minlength=SLOTS))

    def merge(self, other: Self) -> Self:
        """Both sites' groups, one after the other."""
        parts = zip(self.to_arrays().values(), other.to_arrays().values())
        return type(self)(*(np.concatenate(pair) for pair in parts))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"sums": self.sums, "bins": self.bins, "weight": self.weight}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read the message form; ``ValueError`` when it is not one."""
        if set(arrays) != {"sums", "bins", "weight"}:
            raise ValueError("expected sums, bins and weight")
        sums, bins, weight = arrays["sums"], arrays["bins"], arrays["weight"]
        if sums.dtype != np.float64 or bins.dtype != np.float64 or weight.dtype != np.int64:
            raise ValueError("expected sums and bins of float64, weight of int64")
        n = len(weight) if weight.ndim == 1 else 0
        if not n or sums.shape != (n, len(LIMITS)) or bins.shape != (n, N_BINS, PARTS):
            raise ValueError(f"sums of groups in other forms: {sums.shape}, {bins.shape}")
        if weight.min() < 0 or weight.max() > MAX_COUNT:
            raise ValueError("numbers of images beyond any data set")
        each, slack = weight[:, None], 1e-6
        inside = (sums >= each * _LOWER - slack) & (sums <= each * _UPPER + slack)
        held = (bins >= 0) & (bins <= each[:, None] * _LARGEST + slack)
        if not inside.all() or not held.all():
            raise ValueError("figures outside their range")
        return cls(sums, bins, weight)

    def released(self, target: Ints) -> Self:
        """In fewer groups, each added to its ``target`` (G,), each mean to four decimals."""
        sums, bins, weight = (pooled(a, target) for a in self.to_arrays().values())
        of_each = np.maximum(weight, 1)
        sums = (sums / of_each[:, None]).round(4) * weight[:, None]
        bins = (bins / of_each[:, None, None]).round(7) * weight[:, None, None]
        return type(self)(sums, bins, weight)

    def estimates(self) -> dict[str, Estimate]:
        """The mean of each figure, PSNR's with its interval, and ``ence``."""
        n = int(self.weight.sum())
        if n < 1:
            return {}
        means = self.sums.sum(0) / n
        found = {name: Estimate(float(mean)) for name, mean in zip(LIMITS, means)}
        found["psnr"] = estimate(float(means[0]), self._without(), self.weight)
        return found | {"ence": Estimate(ence(self.bins.sum(0)))}

    def difference(self, other: Self) -> Estimate:
        """The other's mean PSNR less this one's, both without the same group at once."""
        n = int(self.weight.sum())
        if not np.array_equal(self.weight, other.weight) or n < 1:
            return Estimate(None)
        value = float((other.sums - self.sums)[:, 0].sum() / n)
        return estimate(value, other._without() - self._without(), self.weight)

    def _without(self) -> Floats:
        """Mean PSNR (G,) without each group; NaN where nothing is left."""
        psnr, left = self.sums[:, 0], self.weight.sum() - self.weight
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Floats = (psnr.sum() - psnr) / left
        return result


def ence(bins: Floats) -> float | None:
    """Expected normalised calibration error (Levi et al. 2022) from sums by bin (B, 3): the mean
    over pixels of |root mean variance - RMSE| of their bin over its root mean variance."""
    share, squared, variance = bins.T
    there = (share > 0) & (variance > 0)
    if not there.any():
        return None
    spread = np.sqrt(variance[there] / share[there])
    error = np.sqrt(squared[there] / share[there])
    return float((share[there] * np.abs(spread - error) / spread).sum() / share[there].sum())
