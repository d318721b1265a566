"""Summaries that leave a site in place of scores and images: mergeable, with their uncertainty.

Replicate 0 of every summary is the data; the others are patient bootstraps. Sites resample their
own patients, so merging replicate by replicate is a bootstrap stratified by site. No torch here:
the process without data reads these summaries too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

METRICS = ("psnr", "mse", "ssim", "nmse")
N_BINS = 64
LOGIT_LIMIT = 8.0
MIN_REPLICATES = 20
MAX_REPLICATES = 4096
_BLOCK = 4096


def bootstrap_weights(
    patients: npt.NDArray[Any], n_replicates: int, generator: np.random.Generator
) -> Ints:
    """How often each slice counts in each replicate, (n_replicates + 1, n) int64.

    Row 0 is ones. In the others whole patients are drawn with replacement, as many as there are:
    slices of a patient are not independent and never count as if they were.
    """
    inverse = np.unique(patients, return_inverse=True)[1]
    n_patients = int(inverse.max()) + 1 if len(inverse) else 0
    weights = np.ones((n_replicates + 1, len(inverse)), dtype=np.int64)
    if n_patients:
        chances = np.full(n_patients, 1 / n_patients)
        weights[1:] = generator.multinomial(n_patients, chances, size=n_replicates)[:, inverse]
    return weights


@dataclass(frozen=True)
class ScoreHistogram:
    """Scores of a classifier as counts: AUROC and accuracy without any patient's score.

    ``counts`` (R + 1, L, 2, 64): replicate, label, negative | positive, bin; bins are uniform in
    the logit over [-8, 8], the outer ones open. ``correct`` and ``total`` (R + 1,): decisions.
    """

    counts: Ints
    correct: Ints
    total: Ints

    @classmethod
    def from_scores(
        cls,
        logits: npt.NDArray[np.floating[Any]],
        labels: npt.NDArray[Any],
        weights: npt.NDArray[np.integer[Any]],
        exclusive: bool = False,
    ) -> "ScoreHistogram":
        """Histogram of ``logits`` (n, L) against multi-hot ``labels`` (n, L).

        ``weights`` (R + 1, n) as from :func:`bootstrap_weights`. With ``exclusive`` the logits are
        a softmax's: each label's score is its log-odds, and a decision is the largest. Otherwise
        each label is a decision of its own at probability one half. Raises ``ValueError`` on
        shapes that do not agree and on scores that are not finite.
        """
        scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels).astype(bool)
        counted = np.asarray(weights, dtype=np.int64)
        if (
            scores.ndim != 2
            or scores.shape != truth.shape
            or counted.shape[1:] != scores.shape[:1]
        ):
            shapes = f"{scores.shape}, {truth.shape}, {counted.shape}"
            raise ValueError(f"logits (n, L), labels (n, L), weights (R + 1, n): got {shapes}")
        if not np.isfinite(scores).all():
            raise ValueError("logits that are not finite have no histogram")
        if exclusive:
            right = (scores.argmax(1) == truth.argmax(1)).astype(np.int64)
            total, scores = counted.sum(1), _log_odds(scores)
        else:
            right = ((scores > 0) == truth).sum(1)
            total = counted.sum(1) * scores.shape[1]
        return cls(_count(scores, truth, counted), counted @ right, total)

    def merge(self, other: "ScoreHistogram") -> "ScoreHistogram":
        """Both data sets' histogram; exact, so the order of merging does not matter."""
        if self.counts.shape != other.counts.shape:
            shapes = f"{self.counts.shape} and {other.counts.shape}"
            raise ValueError(f"histograms of different replicates or labels: {shapes}")
        return ScoreHistogram(
            self.counts + other.counts, self.correct + other.correct, self.total + other.total
        )

    def auroc(self) -> Floats:
        """AUROC of each label (L,), ties at half; NaN without a positive or without a negative."""
        return _auroc(self.counts[0])

    def auroc_interval(self) -> tuple[float | None, float | None, float | None]:
        """Mean AUROC over the labels that have one, and its 95 % bootstrap interval.

        Replicates in which one of these labels has no AUROC are left out; with fewer than 20 or
        fewer than half of them left there is no interval. What does not exist is ``None``.
        """
        defined = np.isfinite(self.auroc())
        if not defined.any():
            return None, None, None
        means = _auroc(self.counts[:, defined]).mean(1)
        low, high = _percentiles(means[1:])
        return float(means[0]), low, high

    def accuracy(self) -> float | None:
        """Share of right decisions; ``None`` without data."""
        return float(self.correct[0] / self.total[0]) if self.total[0] else None

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"counts": self.counts, "correct": self.correct, "total": self.total}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "ScoreHistogram":
        """Read the message form; ``ValueError`` when it is not one."""
        counts, correct, total = _take(arrays, ("counts", "correct", "total"), np.int64)
        n = _replicates(counts, correct, total)
        if counts.ndim != 4 or counts.shape[1] < 1 or counts.shape[2:] != (2, N_BINS):
            raise ValueError(f"counts: expected (R + 1, L, 2, {N_BINS}), got {counts.shape}")
        if correct.shape != (n,) or total.shape != (n,):
            raise ValueError("correct and total: expected one number a replicate")
        if min(counts.min(), correct.min()) < 0 or (correct > total).any():
            raise ValueError("negative counts, or more decisions right than made")
        if max(counts.max(), total.max()) > 2**40:
            raise ValueError("counts beyond any data set")
        return cls(counts, correct, total)


@dataclass(frozen=True)
class ImageQuality:
    """Mean quality of reconstructions: ``means`` (R + 1, 4) in the order of ``METRICS``.

    PSNR in dB (mean of the images' dB), MSE, SSIM, NMSE; ``weight`` is the number of images.
    """

    means: Floats
    weight: float

    @classmethod
    def from_images(
        cls, per_image: npt.NDArray[np.floating[Any]], weights: npt.NDArray[np.integer[Any]]
    ) -> "ImageQuality":
        """Means of ``per_image`` (n, 4) under ``weights`` (R + 1, n). Needs an image."""
        values, counts = np.asarray(per_image, np.float64), np.asarray(weights, np.float64)
        n = len(values)
        if n == 0 or values.shape != (n, len(METRICS)) or counts.shape[1:] != (n,):
            raise ValueError(f"expected (n, 4) and (R + 1, n): {values.shape}, {counts.shape}")
        return cls(counts @ values / counts.sum(1, keepdims=True), float(n))

    def merge(self, other: "ImageQuality") -> "ImageQuality":
        """Both sets' means, weighted by their numbers of images."""
        if self.means.shape != other.means.shape:
            raise ValueError(f"replicates differ: {self.means.shape} and {other.means.shape}")
        weight = self.weight + other.weight
        means = (self.means * self.weight + other.means * other.weight) / weight
        return ImageQuality(means, weight)

    def rounded(self) -> "ImageQuality":
        """Coarse enough to leave a site: 0.1 dB, three decimals, three digits of MSE."""
        psnr, mse, ssim, nmse = self.means.T
        digits = np.floor(np.log10(np.maximum(np.abs(mse), 1e-12)))
        unit = 10.0 ** (digits - 2)
        columns = [psnr.round(1), np.round(mse / unit) * unit, ssim.round(3), nmse.round(3)]
        return ImageQuality(np.stack(columns, axis=1), self.weight)

    def mean(self, metric: str) -> float:
        """The mean of one of ``METRICS`` over the images."""
        return float(self.means[0, METRICS.index(metric)])

    def interval(self, metric: str) -> tuple[float, float | None, float | None]:
        """The mean of one of ``METRICS`` and its 95 % interval by patient bootstrap."""
        values = self.means[:, METRICS.index(metric)]
        return float(values[0]), *_percentiles(values[1:])

    @property
    def psnr_of_mean_mse(self) -> float:
        """dB of the mean MSE: dominated by the worst rebuilt images, beside the mean dB."""
        return float(-10 * np.log10(max(self.mean("mse"), 1e-12)))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The message form."""
        return {"means": self.means, "weight": np.array([self.weight], dtype=np.float64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "ImageQuality":
        """Read the message form; ``ValueError`` when it is not one."""
        means, weight = _take(arrays, ("means", "weight"), np.float64)
        _replicates(means)
        if means.ndim != 2 or means.shape[1] != len(METRICS) or weight.shape != (1,):
            raise ValueError(f"means: expected (R + 1, {len(METRICS)}), got {means.shape}")
        if not (np.isfinite(means).all() and 0 < weight[0] < 2**40):
            raise ValueError("means must be finite, and of at least one image")
        return cls(means, float(weight[0]))


def _count(scores: Floats, truth: npt.NDArray[np.bool_], weights: Ints) -> Ints:
    n, n_labels = scores.shape
    bins = ((scores / LOGIT_LIMIT + 1) * (N_BINS / 2)).clip(0, N_BINS - 1).astype(np.int64)
    cell = bins + N_BINS * truth
    counts = np.zeros((len(weights), n_labels, 2 * N_BINS), dtype=np.int64)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = weights[:, rows].astype(np.float64)
        for label in range(n_labels):
            where = np.eye(2 * N_BINS)[cell[rows, label]]
            counts[:, label] += np.rint(block @ where).astype(np.int64)
    return counts.reshape(len(weights), n_labels, 2, N_BINS)


def _log_odds(logits: Floats) -> Floats:
    """Log-odds of each class under a softmax: z_k - logsumexp of the others."""
    n_classes = logits.shape[1]
    odds = np.empty_like(logits)
    for k in range(n_classes):
        rest = np.delete(logits, k, axis=1)
        odds[:, k] = logits[:, k] - np.logaddexp.reduce(rest, axis=1)
    return np.clip(odds, -2 * LOGIT_LIMIT, 2 * LOGIT_LIMIT)


def _auroc(counts: Ints) -> Floats:
    """(..., 2, bins) -> (...): P(score of a positive > of a negative) + P(tie) / 2."""
    negative, positive = counts[..., 0, :].astype(np.float64), counts[..., 1, :].astype(np.float64)
    below = np.cumsum(negative, axis=-1) - negative / 2
    pairs = negative.sum(-1) * positive.sum(-1)
    wins = (positive * below).sum(-1)
    result: Floats = np.divide(wins, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
    return result


def _percentiles(values: Floats) -> tuple[float | None, float | None]:
    finite = values[np.isfinite(values)]
    if len(finite) < max(MIN_REPLICATES, len(values) / 2):
        return None, None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def _take(
    arrays: Mapping[str, npt.NDArray[Any]], names: tuple[str, ...], dtype: type
) -> list[npt.NDArray[Any]]:
    if set(arrays) != set(names) or any(arrays[name].dtype != dtype for name in names):
        raise ValueError(f"expected {', '.join(names)} of type {np.dtype(dtype)}")
    return [arrays[name] for name in names]


def _replicates(*arrays: npt.NDArray[Any]) -> int:
    n = arrays[0].shape[0] if arrays[0].ndim else 0
    if not 1 <= n <= MAX_REPLICATES + 1:
        raise ValueError(f"expected 1 .. {MAX_REPLICATES + 1} replicates, got {n}")
    return n
