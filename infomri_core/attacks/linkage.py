"""Linkage: whose scan is this? A measurement is matched to candidate scans by likelihood."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Self, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from infomri_core.attacks.linear.conjugate import symmetrise
from infomri_core.physics.kspace import fft2c
from infomri_core.summaries.linkage_summary import LinkageSummary
from infomri_core.system.errors import InputError

MAX_PATIENTS = 32
_SMOOTHING = 5
_FLOOR = 1e-12
_ARRAYS = ("mean", "keep", "residual")


@final
@dataclass(frozen=True)
class Likeness:
    """How slices of one patient resemble each other, point by point in k-space.

    Given a patient's slice k', another slice is Gaussian with mean mu + keep (k' - mu) and
    variance ``residual`` at each point of k-space.

    Args:
        mean: (H, W), the mean image.
        keep: (H, W) in [0, 1], symmetric under i -> i*.
        residual: (H, W), 0 or more, symmetric under i -> i*.
    """

    mean: Tensor
    keep: Tensor
    residual: Tensor

    @classmethod
    def fit(cls, images: Tensor, patients: np.ndarray) -> "Likeness":
        """From images of known patients. Without a patient of two slices, another slice is taken
        to equal the first.

        Args:
            images: (n, H, W); a patient's slices are neighbours in the order given.
            patients: (n,).
        """
        mean = images.float().mean(0)
        k = fft2c(images.float() - mean)
        pairs = _neighbours(patients)
        if len(pairs) == 0:
            return cls(mean, torch.ones_like(mean), torch.zeros_like(mean))
        a, b = k[torch.from_numpy(pairs[:, 0])], k[torch.from_numpy(pairs[:, 1])]
        together = (a * b.conj()).real.mean(0)
        variance = (a.abs().square() + b.abs().square()).mean(0) / 2
        keep = (_smooth(together) / _smooth(variance).clamp_min(_FLOOR)).clamp(0, 1)
        return cls(mean, keep, _smooth(variance) * (1 - keep.square()))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The message form: float32 arrays."""
        return {name: getattr(self, name).cpu().numpy() for name in _ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> "Likeness":
        """Read the message form.

        Args:
            arrays: As ``to_arrays`` gave them.
            shape: (H, W) that they must have.

        Raises:
            InputError: It is not one.
        """
        fits = set(arrays) == set(_ARRAYS) and all(
            a.dtype == np.float32 and a.shape == shape and np.isfinite(a).all()
            for a in arrays.values()
        )
        if not fits or arrays["keep"].min() < 0 or arrays["keep"].max() > 1:
            raise _unfit(shape)
        if arrays["residual"].min() < 0:
            raise _unfit(shape)
        return cls(*(torch.from_numpy(np.array(arrays[name])) for name in _ARRAYS))

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(*(getattr(self, name).to(device) for name in _ARRAYS))


@final
@dataclass(frozen=True)
class Gallery:
    """Row numbers in a table, one a patient.

    Args:
        measured: (Q,), the slice that is measured; ascending, as slices are scored.
        other: (Q,), another slice, or -1.
    """

    measured: np.ndarray
    other: np.ndarray

    @classmethod
    def of(cls, patients: np.ndarray) -> "Gallery":
        """The middle slice and its neighbour of at most 32 patients, evenly spread.

        Args:
            patients: (n,), of each row of the table.
        """
        names = np.unique(patients)
        spread = np.linspace(0, len(names) - 1, min(MAX_PATIENTS, len(names))).round()
        measured, other = [], []
        for name in names[spread.astype(int)]:
            rows = np.flatnonzero(patients == name)
            middle = len(rows) // 2
            measured.append(rows[middle])
            other.append(rows[middle - 1] if middle else -1)
        order = np.argsort(measured)
        return cls(np.array(measured, np.int64)[order], np.array(other, np.int64)[order])


def same_scan(measurement: Tensor, mask: Tensor, candidates: Tensor, noise_std: float) -> Tensor:
    """log p(y | candidate), up to a constant.

    Exactly -||m (y - F x)||^2 / (2 sigma^2), the noise of InfoMRI's Eq. 2; in float64.

    Args:
        measurement: y, complex (Q, H, W).
        mask: m, (Q, H, W) of zeros and ones.
        candidates: x, images (C, H, W).
        noise_std: sigma.

    Returns:
        (Q, C).
    """
    return -_distance(measurement, mask, fft2c(candidates)) / max(2 * noise_std**2, _FLOOR)


def other_slice(
    measurement: Tensor, mask: Tensor, candidates: Tensor, noise_std: float, likeness: Likeness
) -> Tensor:
    """log p(y | candidate is another slice of the same patient), up to a constant.

    Both answers to a conjugate pair become one, with noise and the patient's own variation.

    Args:
        measurement: y, complex (Q, H, W).
        mask: (Q, H, W) of zeros and ones.
        candidates: Images (C, H, W).
        noise_std: Standard deviation of the real part of the noise and of its imaginary part.
        likeness: How slices of one patient resemble each other.

    Returns:
        (Q, C).
    """
    y, count = symmetrise(measurement, mask)
    variance = likeness.residual + 2 * noise_std**2 / count.clamp_min(1)
    trust = torch.where(count > 0, 1 / variance.clamp_min(_FLOOR), 0)
    predicted = likeness.keep * fft2c(candidates - likeness.mean)
    return -_distance(y - fft2c(likeness.mean) * (count > 0), trust, predicted) / 2


def link(
    measurement: Tensor,
    mask: Tensor,
    gallery: Gallery,
    fetch: Callable[[np.ndarray], Tensor],
    noise_std: float,
    likeness: Likeness,
    slots: np.ndarray,
) -> LinkageSummary:
    """Match measurements to the scans of all patients in the gallery.

    For each measurement the candidates are all scans of the *other* patients and one of its own:
    the very same, then another slice.

    Args:
        measurement: y of ``gallery.measured``, complex (Q, H, W).
        mask: (Q, H, W) of zeros and ones.
        gallery: Which rows are candidates.
        fetch: Gives the images of row numbers.
        noise_std: Standard deviation of the real part of the noise and of its imaginary part.
        likeness: How slices of one patient resemble each other.
        slots: (Q,), the group of each measurement's patient.
    """
    n = len(gallery.measured)
    paired = np.flatnonzero(gallery.other >= 0)
    scans = fetch(np.concatenate((gallery.measured, gallery.other[paired])))
    owner = np.concatenate((np.arange(n), paired))
    foreign = owner[None, :] != np.arange(n)[:, None]
    figures = np.full((n, 2, 2), np.nan)
    same = same_scan(measurement, mask, scans, noise_std).cpu().numpy()
    figures[:, 0] = ranked(same, np.arange(n), foreign)
    if len(paired):
        other = other_slice(measurement, mask, scans, noise_std, likeness).cpu().numpy()
        right = n + np.arange(len(paired))
        figures[paired, 1] = ranked(other[paired], right, foreign[paired])
    return LinkageSummary.from_matches(figures, foreign.sum(1) + 1, slots)


def ranked(likelihood: np.ndarray, right: np.ndarray, foreign: np.ndarray) -> np.ndarray:
    """Rank-1 success and AUC of each row. Ties count as drawn by lot.

    Args:
        likelihood: (n, C).
        right: (n,), the matching column.
        foreign: Bool (n, C), the columns that must lose to it.

    Returns:
        (n, 2); NaN without anything to lose to.
    """
    match = likelihood[np.arange(len(right)), right][:, None]
    above = ((likelihood > match) & foreign).sum(1)
    level = ((likelihood == match) & foreign).sum(1)
    n_foreign = foreign.sum(1)
    first = (above == 0) / (1 + level)
    auc = 1 - (above + level / 2) / np.maximum(n_foreign, 1)
    return np.where(n_foreign[:, None] > 0, np.stack((first, auc), 1), np.nan)


def _distance(y: Tensor, trust: Tensor, kspace: Tensor) -> Tensor:
    """sum_i trust_i |y_i - k_i|^2, (Q, C), for every pair of y (Q, H, W) and k (C, H, W)."""
    seen, known = y.flatten(1).to(torch.complex128), kspace.flatten(1).to(torch.complex128)
    w = trust.flatten(1).double()
    cross = ((w * seen).conj() @ known.mT).real
    own = (w * seen.abs().square()).sum(1)[:, None]
    return (own - 2 * cross + w @ known.abs().square().mT).clamp_min(0)


def _neighbours(patients: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) of indices of consecutive slices of one patient."""
    pairs = []
    for name in np.unique(patients):
        rows = np.flatnonzero(patients == name)
        pairs += list(pairwise(rows))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _smooth(plane: Tensor) -> Tensor:
    return avg_pool2d(plane[None, None], _SMOOTHING, 1, _SMOOTHING // 2, count_include_pad=False)[
        0, 0
    ]


def _unfit(shape: tuple[int, int]) -> InputError:
    expected = f"float32 {shape}: mean, keep in [0, 1], residual >= 0"
    return InputError("attack 'linkage'", expected, "other arrays", "fit it on the audit set")
