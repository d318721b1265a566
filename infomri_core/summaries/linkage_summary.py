"""How often a measurement is matched to its patient, as a summary that leaves a site.

No torch here: the process without data reads these summaries too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from infomri_core.summaries.groups import SLOTS, pooled
from infomri_core.summaries.jackknife import Estimate, estimate
from infomri_core.summaries.metrics import MAX_COUNT

KINDS = ("same", "other")
FIGURES = ("rank1", "auc")
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@final
@dataclass(frozen=True)
class LinkageSummary:
    """Success of matching: ``sums`` (G, 2, 2) over each group: group, ``KINDS``, ``FIGURES``.

    ``same``: the very scan is among the candidates; ``other``: another slice of the patient is.
    ``weight`` (G, 2): measurements matched, one a patient; a kind with none has no figures.
    ``gallery`` (G, 2): the sum of their numbers of candidates, one of them right.
    """

    sums: Floats
    weight: Ints
    gallery: Ints

    @classmethod
    def from_matches(
        cls,
        figures: npt.NDArray[np.floating[Any]],
        gallery: npt.NDArray[Any],
        slots: npt.NDArray[np.integer[Any]],
    ) -> "LinkageSummary":
        """Of ``figures`` (n, 2, 2), NaN where a measurement has no right candidate of that kind,
        with ``gallery`` (n,) candidates each, by ``slots`` (n,) of the patients."""
        defined = np.isfinite(figures).all(-1).astype(np.int64)
        candidates = np.asarray(gallery, np.int64)[:, None] * defined
        parts = (
            np.where(defined[..., None] > 0, np.nan_to_num(np.asarray(figures, np.float64)), 0),
            defined,
            candidates,
        )
        sums, weight, total = (np.zeros((SLOTS, *part.shape[1:]), part.dtype) for part in parts)
        for result, part in zip((sums, weight, total), parts):
            np.add.at(result, np.asarray(slots, np.int64), part)
        return cls(sums, weight, total)

    def merge(self, other: "LinkageSummary") -> "LinkageSummary":
        """Both sites' groups, one after the other."""
        a, b = self.to_arrays(), other.to_arrays()
        return LinkageSummary(*(np.concatenate((a[name], b[name])) for name in a))

    def released(self, kind: str, target: Ints, keep: bool) -> "LinkageSummary":
        """One of ``KINDS`` in fewer groups, each added to its ``target`` (G,), or emptied unless
        ``keep``; the other kind stays."""
        k = KINDS.index(kind)
        arrays = {name: array.copy() for name, array in self.to_arrays().items()}
        for array in arrays.values():
            array[:, k] = pooled(array[:, k], target) if keep else 0
        return LinkageSummary(**arrays)

    def rounded(self, step: int = 1) -> "LinkageSummary":
        """Coarse enough to leave a site: each group's mean to two decimals; numbers of
        measurements, and of a measurement's candidates, down to multiples of ``step``."""
        filled = np.maximum(self.weight, 1)
        weight = self.weight - self.weight % step
        candidates = self.gallery // filled
        means = (self.sums / filled[..., None]).round(2)
        return LinkageSummary(
            means * weight[..., None], weight, (candidates - candidates % step) * weight
        )

    def value(self, kind: str, figure: str) -> float | None:
        """One of ``FIGURES`` of one of ``KINDS``; None where nothing could be matched."""
        return self.estimate(kind, figure).value

    def estimate(self, kind: str, figure: str) -> Estimate:
        """One of ``FIGURES`` of one of ``KINDS`` with its interval; without a value where nothing
        could be matched."""
        k, f = KINDS.index(kind), FIGURES.index(figure)
        sums, weight = self.sums[:, k, f], self.weight[:, k]
        if weight.sum() <= 0:
            return Estimate(None)
        rest = weight.sum() - weight
        left_out = np.full(len(rest), np.nan)
        np.divide(sums.sum() - sums, rest, out=left_out, where=rest > 0)
        value = min(1.0, max(0.0, float(sums.sum() / weight.sum())))
        return estimate(value, left_out, weight, within=(0, 1))

    def candidates(self) -> float | None:
        """Mean number of candidates a measurement was held against; chance is one over it."""
        weight = int(self.weight[:, 0].sum())
        return float(self.gallery[:, 0].sum() / weight) if weight > 0 else None

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"sums": self.sums, "weight": self.weight, "gallery": self.gallery}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "LinkageSummary":
        """Read the message form; ``ValueError`` when it is not one."""
        types = {"sums": np.float64, "weight": np.int64, "gallery": np.int64}
        if set(arrays) != set(types) or any(arrays[n].dtype != t for n, t in types.items()):
            raise ValueError("expected sums of float64, weight and gallery of int64")
        sums, weight, gallery = (arrays[name] for name in types)
        n = sums.shape[0] if sums.ndim else 0
        if n < 1 or sums.shape != (n, 2, 2):
            raise ValueError(f"sums: expected (G, 2, 2), got {sums.shape}")
        if weight.shape != (n, 2) or gallery.shape != (n, 2):
            raise ValueError("weight and gallery: expected one number a group and kind")
        for counts in (weight, gallery):
            if counts.min() < 0 or counts.max() > MAX_COUNT:
                raise ValueError("numbers of measurements or candidates beyond any data set")
        if not ((sums >= 0) & (sums <= weight[..., None] + 1e-9)).all():
            raise ValueError("shares must lie in [0, 1]")
        return cls(sums, weight, gallery)
