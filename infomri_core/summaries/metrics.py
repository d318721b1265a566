"""Summaries that leave a site in place of scores and images: sums over groups of patients.

The first axis of every array is the group: at a site the slots of
:mod:`infomri_core.summaries.groups`, at the study centre those of all sites, one after the other.
Intervals come from leaving out one group after the other
(:mod:`infomri_core.summaries.jackknife`). No torch here: the process without data reads these
summaries too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infomri_core.summaries.groups import SLOTS, pooled
from infomri_core.summaries.jackknife import Estimate, estimate

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

METRICS = ("psnr", "mse", "ssim", "nmse")
N_BINS = 64
LOGIT_LIMIT = 8.0
MAX_COUNT = 2**40


@dataclass(frozen=True)
class ScoreHistogram:
    """Scores of a classifier as counts: AUROC and accuracy without any patient's score.

    ``counts`` (G, L, 2, 64): group, label, negative | positive, bin; bins are uniform in the
    logit over [-8, 8], the outer ones open. ``correct`` and ``total`` (G,): decisions.
    """

    counts: Ints
    correct: Ints
    total: Ints

    @classmethod
    def from_scores(
        cls,
        logits: npt.NDArray[np.floating[Any]],
        labels: npt.NDArray[Any],
        slots: npt.NDArray[np.integer[Any]],
        exclusive: bool = False,
    ) -> "ScoreHistogram":
        """Histogram of ``logits`` (n, L) against multi-hot ``labels`` (n, L), by ``slots`` (n,).

        With ``exclusive`` the logits are a softmax's: each label's score is its log-odds, and a
        decision is the largest. Otherwise each label is a decision of its own at probability one
        half. Raises ``ValueError`` on shapes that do not agree and on scores that are not finite.
        """
        scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels).astype(bool)
        where = np.asarray(slots, dtype=np.int64)
        if scores.ndim != 2 or scores.shape != truth.shape or where.shape != scores.shape[:1]:
            shapes = f"{scores.shape}, {truth.shape}, {where.shape}"
            raise ValueError(f"logits (n, L), labels (n, L), slots (n,): got {shapes}")
        if not np.isfinite(scores).all():
            raise ValueError("logits that are not finite have no histogram")
        total = np.bincount(where, minlength=SLOTS)
        if exclusive:
            right = (scores.argmax(1) == truth.argmax(1)).astype(np.int64)
            scores = np.clip(log_odds(scores), -2 * LOGIT_LIMIT, 2 * LOGIT_LIMIT)
        else:
            right = ((scores > 0) == truth).sum(1)
            total = total * scores.shape[1]
        return cls(_count(scores, truth, where), _summed(right, where), total)

    def merge(self, other: "ScoreHistogram") -> "ScoreHistogram":
        """Both sites' groups, one after the other."""
        if self.counts.shape[1:] != other.counts.shape[1:]:
            shapes = f"{self.counts.shape} and {other.counts.shape}"
            raise ValueError(f"histograms of different labels: {shapes}")
        return ScoreHistogram(*_joined(self, other, ("counts", "correct", "total")))

    def pooled(self, target: Ints) -> "ScoreHistogram":
        """The same in fewer groups: each added to its ``target`` (G,)."""
        return ScoreHistogram(*(pooled(a, target) for a in self.to_arrays().values()))

    def auroc(self) -> Floats:
        """AUROC of each label (L,), ties at half; NaN without a positive or without a negative."""
        return _auroc(self.counts.sum(0))

    def auroc_estimate(self) -> Estimate:
        """Mean AUROC over the labels that have one, with its interval.

        No interval where a label has no AUROC without one of the groups.
        """
        defined = np.isfinite(self.auroc())
        if not defined.any():
            return Estimate(None)
        counts = self.counts[:, defined]
        left_out = _auroc(counts.sum(0) - counts).mean(-1)
        value = float(_auroc(counts.sum(0)).mean())
        return estimate(value, left_out, counts.sum((1, 2, 3)), within=(0, 1))

    def auroc_difference(self, other: "ScoreHistogram") -> Estimate:
        """The other's mean AUROC less this one's, over the same groups of the same patients: both
        lose a group at once, so that what they have in common falls out of the interval."""
        defined = np.isfinite(self.auroc()) & np.isfinite(other.auroc())
        a, b = self.counts, other.counts
        if a.shape != b.shape or not defined.any():
            return Estimate(None)
        a, b = a[:, defined], b[:, defined]
        value = float((_auroc(b.sum(0)) - _auroc(a.sum(0))).mean())
        left_out = (_auroc(b.sum(0) - b) - _auroc(a.sum(0) - a)).mean(-1)
        return estimate(value, left_out, a.sum((1, 2, 3)))

    def accuracy(self) -> float | None:
        """Share of right decisions; ``None`` without data."""
        total = int(self.total.sum())
        return min(1.0, max(0.0, float(self.correct.sum() / total))) if total > 0 else None

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"counts": self.counts, "correct": self.correct, "total": self.total}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "ScoreHistogram":
        """Read the message form; ``ValueError`` when it is not one."""
        counts, correct, total = _take(arrays, counts=np.int64, correct=np.int64, total=np.int64)
        if counts.ndim != 4 or counts.shape[1] < 1 or counts.shape[2:] != (2, N_BINS):
            raise ValueError(f"counts: expected (G, L, 2, {N_BINS}), got {counts.shape}")
        check_groups(len(counts), correct=correct, total=total)
        _check_counts(counts, correct, total)
        if (correct > total).any():
            raise ValueError("more decisions right than made")
        return cls(counts, correct, total)


@dataclass(frozen=True)
class ImageQuality:
    """Quality of reconstructions: ``sums`` (G, 4) over the images of each group, in the order of
    ``METRICS``, and how many these are, ``weight`` (G,).

    PSNR in dB (a mean is that of the images' dB), MSE, SSIM, NMSE.
    """

    sums: Floats
    weight: Ints

    @classmethod
    def from_images(
        cls, per_image: npt.NDArray[np.floating[Any]], slots: npt.NDArray[np.integer[Any]]
    ) -> "ImageQuality":
        """Sums of ``per_image`` (n, 4) by ``slots`` (n,). Needs an image."""
        values, where = np.asarray(per_image, np.float64), np.asarray(slots, np.int64)
        n = len(values)
        if n == 0 or values.shape != (n, len(METRICS)) or where.shape != (n,):
            raise ValueError(f"expected (n, 4) and (n,): {values.shape}, {where.shape}")
        return cls(_summed(values, where), np.bincount(where, minlength=SLOTS))

    def merge(self, other: "ImageQuality") -> "ImageQuality":
        """Both sites' groups, one after the other."""
        return ImageQuality(*_joined(self, other, ("sums", "weight")))

    def pooled(self, target: Ints) -> "ImageQuality":
        """The same in fewer groups: each added to its ``target`` (G,)."""
        return ImageQuality(pooled(self.sums, target), pooled(self.weight, target))

    def rounded(self) -> "ImageQuality":
        """Coarse enough to leave a site: each group's mean to 0.1 dB, three decimals, three digits
        of MSE."""
        weight = self.weight[:, None].astype(np.float64)
        psnr, mse, ssim, nmse = (self.sums / np.maximum(weight, 1)).T
        digits = np.floor(np.log10(np.maximum(np.abs(mse), 1e-12)))
        unit = 10.0 ** (digits - 2)
        columns = [psnr.round(1), np.round(mse / unit) * unit, ssim.round(3), nmse.round(3)]
        return ImageQuality(np.stack(columns, axis=1) * weight, self.weight)

    def mean(self, metric: str) -> float:
        """The mean of one of ``METRICS`` over the images."""
        return float(self.sums[:, METRICS.index(metric)].sum() / self.weight.sum())

    def estimate(self, metric: str) -> Estimate:
        """The mean of one of ``METRICS`` with its interval."""
        return estimate(self.mean(metric), self._left_out(metric), self.weight)

    def difference(self, other: "ImageQuality", metric: str) -> Estimate:
        """The other's mean of one of ``METRICS`` less this one's, over the same groups of the same
        images, with its paired interval."""
        if not np.array_equal(self.weight, other.weight):
            return Estimate(None)
        left_out = other._left_out(metric) - self._left_out(metric)
        return estimate(other.mean(metric) - self.mean(metric), left_out, self.weight)

    def _left_out(self, metric: str) -> Floats:
        """The mean (G,) without each group; NaN where nothing is left."""
        sums = self.sums[:, METRICS.index(metric)]
        rest = self.weight.sum() - self.weight
        left_out = np.full(len(rest), np.nan)
        np.divide(sums.sum() - sums, rest, out=left_out, where=rest > 0)
        return left_out

    @property
    def psnr_of_mean_mse(self) -> float:
        """dB of the mean MSE: dominated by the worst rebuilt images, beside the mean dB."""
        return float(-10 * np.log10(max(self.mean("mse"), 1e-12)))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"sums": self.sums, "weight": self.weight}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "ImageQuality":
        """Read the message form; ``ValueError`` when it is not one."""
        sums, weight = _take(arrays, sums=np.float64, weight=np.int64)
        if sums.ndim != 2 or sums.shape[1] != len(METRICS):
            raise ValueError(f"sums: expected (G, {len(METRICS)}), got {sums.shape}")
        check_groups(len(sums), weight=weight)
        _check_counts(weight)
        if not np.isfinite(sums).all() or weight.sum() < 1:
            raise ValueError("sums must be finite, and of at least one image")
        return cls(sums, weight)


def check_groups(n_groups: int, **arrays: npt.NDArray[Any]) -> None:
    """``ValueError`` unless each of ``arrays`` has one number for each of the groups."""
    if n_groups < 1:
        raise ValueError("expected at least one group")
    for name, array in arrays.items():
        if array.shape != (n_groups,):
            raise ValueError(f"{name}: expected one number a group")


def _check_counts(*arrays: Ints) -> None:
    """The one place that says what a count may be."""
    for array in arrays:
        if array.size and (array.min() < 0 or array.max() > MAX_COUNT):
            raise ValueError("negative counts, or counts beyond any data set")


def _summed(values: npt.NDArray[Any], slots: Ints) -> npt.NDArray[Any]:
    """Sums (SLOTS, ...) of ``values`` (n, ...) by slot."""
    sums = np.zeros((SLOTS, *values.shape[1:]), values.dtype)
    np.add.at(sums, slots, values)
    return sums


def _count(scores: Floats, truth: npt.NDArray[np.bool_], slots: Ints) -> Ints:
    n_labels = scores.shape[1]
    bins = ((scores / LOGIT_LIMIT + 1) * (N_BINS / 2)).clip(0, N_BINS - 1).astype(np.int64)
    place = (slots[:, None] * n_labels + np.arange(n_labels)) * 2 + truth
    flat = (place * N_BINS + bins).reshape(-1)
    counts = np.bincount(flat, minlength=SLOTS * n_labels * 2 * N_BINS)
    return counts.reshape(SLOTS, n_labels, 2, N_BINS)


def log_odds(logits: Floats) -> Floats:
    """Log-odds (n, K) of each class under a softmax: z_k - logsumexp of the others."""
    odds = np.empty_like(logits)
    for k in range(logits.shape[1]):
        rest = np.delete(logits, k, axis=1)
        odds[:, k] = logits[:, k] - np.logaddexp.reduce(rest, axis=1)
    return odds


def _auroc(counts: Ints) -> Floats:
    """(..., 2, bins) -> (...): P(score of a positive > of a negative) + P(tie) / 2."""
    held = np.maximum(counts, 0).astype(np.float64)
    negative, positive = held[..., 0, :], held[..., 1, :]
    below = np.cumsum(negative, axis=-1) - negative / 2
    pairs = negative.sum(-1) * positive.sum(-1)
    wins = (positive * below).sum(-1)
    result: Floats = np.divide(wins, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
    return result


def _joined(a: Any, b: Any, names: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    return [np.concatenate((getattr(a, name), getattr(b, name))) for name in names]


def _take(arrays: Mapping[str, npt.NDArray[Any]], **types: type) -> list[npt.NDArray[Any]]:
    if set(arrays) != set(types) or any(arrays[n].dtype != t for n, t in types.items()):
        expected = ", ".join(f"{name} of {np.dtype(t)}" for name, t in types.items())
        raise ValueError(f"expected {expected}")
    return [arrays[name] for name in types]
