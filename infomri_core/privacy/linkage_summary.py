"""How often a measurement is matched to its patient, as a summary that leaves a site.

No torch here: the process without data reads these summaries too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from infomri_core.metrics import MAX_REPLICATES, MIN_REPLICATES

KINDS = ("same", "other")
FIGURES = ("rank1", "auc")
Floats = npt.NDArray[np.float64]


@final
@dataclass(frozen=True)
class LinkageSummary:
    """Mean success of matching: ``means`` (R + 1, 2, 2): replicate, ``KINDS``, ``FIGURES``.

    ``same``: the very scan is among the candidates; ``other``: another slice of the patient is.
    ``weight`` (2,): measurements matched, for each kind; a kind with none has no figures.
    ``gallery`` (2,): mean number of candidates, one of them right.
    """

    means: Floats
    weight: Floats
    gallery: Floats

    @classmethod
    def from_matches(
        cls,
        figures: npt.NDArray[np.floating[Any]],
        gallery: npt.NDArray[Any],
        weights: npt.NDArray[np.integer[Any]],
    ) -> "LinkageSummary":
        """Of ``figures`` (n, 2, 2), NaN where a measurement has no right candidate of that kind,
        with ``gallery`` (n,) candidates each, under bootstrap ``weights`` (R + 1, n).

        A replicate that drew no measurement of a kind repeats the data's figure.
        """
        defined = np.isfinite(figures).all(-1).astype(np.float64)
        values = np.nan_to_num(np.asarray(figures, np.float64))
        counts = np.asarray(weights, np.float64) @ defined
        sums = np.einsum("rn,nkf->rkf", np.asarray(weights, np.float64), values)
        means = sums / np.maximum(counts, 1)[..., None]
        means = np.where(counts[..., None] > 0, means, means[:1])
        weight = defined.sum(0)
        mean_gallery = (np.asarray(gallery, np.float64) @ defined) / np.maximum(weight, 1)
        return cls(means, weight, mean_gallery)

    def merge(self, other: "LinkageSummary") -> "LinkageSummary":
        """Both sites' means, weighted by their numbers of measurements."""
        if self.means.shape != other.means.shape:
            raise ValueError(f"replicates differ: {self.means.shape} and {other.means.shape}")
        weight = self.weight + other.weight
        share = self.weight / np.maximum(weight, 1)
        means = self.means * share[:, None] + other.means * (1 - share)[:, None]
        gallery = self.gallery * share + other.gallery * (1 - share)
        empty = weight == 0
        return LinkageSummary(
            np.where(empty[:, None], 0, means), weight, np.where(empty, 0, gallery)
        )

    def rounded(self) -> "LinkageSummary":
        """Coarse enough to leave a site: two decimals."""
        return LinkageSummary(self.means.round(2), self.weight, self.gallery.round())

    def value(self, kind: str, figure: str) -> float | None:
        """One of ``FIGURES`` of one of ``KINDS``; None where nothing could be matched."""
        k = KINDS.index(kind)
        return float(self.means[0, k, FIGURES.index(figure)]) if self.weight[k] > 0 else None

    def interval(self, kind: str, figure: str) -> tuple[float, float] | None:
        """Its 95 % interval by patient bootstrap; None with fewer than 20 replicates."""
        if self.value(kind, figure) is None or len(self.means) <= MIN_REPLICATES:
            return None
        values = self.means[1:, KINDS.index(kind), FIGURES.index(figure)]
        low, high = np.percentile(values, [2.5, 97.5])
        return float(low), float(high)

    def candidates(self) -> float | None:
        """Mean number of candidates a measurement was held against; chance is one over it."""
        return float(self.gallery[0]) if self.weight[0] > 0 else None

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"means": self.means, "weight": self.weight, "gallery": self.gallery}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "LinkageSummary":
        """Read the message form; ``ValueError`` when it is not one."""
        names = ("means", "weight", "gallery")
        if set(arrays) != set(names) or any(arrays[n].dtype != np.float64 for n in names):
            raise ValueError(f"expected {', '.join(names)} of type float64")
        means, weight, gallery = (arrays[name] for name in names)
        n = means.shape[0] if means.ndim else 0
        if means.shape != (n, 2, 2) or not 1 <= n <= MAX_REPLICATES + 1:
            raise ValueError(f"means: expected (R + 1, 2, 2), got {means.shape}")
        if weight.shape != (2,) or gallery.shape != (2,):
            raise ValueError("weight and gallery: expected one number a kind")
        if not ((means >= 0) & (means <= 1)).all():
            raise ValueError("shares must lie in [0, 1]")
        counts = np.concatenate((weight, gallery))
        if not ((counts >= 0) & (counts < 2**40)).all():
            raise ValueError("numbers of measurements or candidates beyond any data set")
        return cls(means, weight, gallery)
