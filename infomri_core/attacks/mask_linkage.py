"""Linkage by the mask alone: whose scan made the sampler measure just there?

A sampler that decides as it measures turns what it sees into points of k-space. Who holds
candidate scans and the trained sampler can let it measure each of them, and compare masks: without
a single value of k-space.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.linkage import Gallery, ranked
from infomri_core.physics.kspace import complex_noise, fft2c
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling import Sampler
from infomri_core.summaries.linkage_summary import LinkageSummary

N_RUNS = 16
_RARE = 1e-3

Fetch = Callable[[np.ndarray], Tensor]


@final
@dataclass(frozen=True)
class MaskLinkage:
    """Rank-1 share and AUC of finding ``n`` patients among ``candidates`` scans, the very scan or
    another slice of the same patient; None where there was none to find."""

    n: int
    candidates: float
    same_rank1: float | None
    same_auc: float | None
    other_rank1: float | None
    other_auc: float | None

    def to_json(self) -> dict[str, float | None]:
        """As JSON values by name."""
        return asdict(self)


def likelihood(
    sampler: Sampler,
    masks: Tensor,
    candidates: Tensor,
    ratio: float,
    noise_std: float,
    generator: Randomness,
) -> Tensor:
    """log p(mask | candidate) (Q, C) of masks (Q, H, W) and images (C, H, W), up to what all
    candidates have in common.

    Points count as independent, each with the share of ``N_RUNS`` measurements of the candidate
    that take it, plus one measurement of the candidates' mean: so no point is ruled out.
    """
    kspace = fft2c(candidates)
    runs = torch.zeros_like(candidates)
    for _ in range(N_RUNS):
        noise = functools.cache(lambda: complex_noise(kspace, noise_std, generator))
        runs += sampler.acquire(kspace, ratio, noise, generator).mask
    common = runs.mean(0) / N_RUNS
    share = ((runs + common) / (N_RUNS + 1)).clamp(_RARE, 1 - _RARE).double().flatten(1)
    seen = masks.double().flatten(1)
    return seen @ share.log().mT + (1 - seen) @ (1 - share).log().mT


@torch.no_grad()
def link_masks(
    sampler: Sampler,
    patients: np.ndarray,
    fetch: Fetch,
    ratio: float,
    noise_std: float,
    generator: Randomness,
) -> MaskLinkage:
    """Measure one slice of at most 32 ``patients`` (n,), and look for it by its mask among their
    scans: ``fetch`` gives images (k, H, W) of row numbers. Candidates are all scans of the *other*
    patients and one of its own, the very same, then another slice."""
    gallery = Gallery.of(patients)
    n, paired = len(gallery.measured), np.flatnonzero(gallery.other >= 0)
    scans = fetch(np.concatenate((gallery.measured, gallery.other[paired])))
    kspace = fft2c(scans[:n])
    noise = functools.cache(lambda: complex_noise(kspace, noise_std, generator))
    masks = sampler.acquire(kspace, ratio, noise, generator).mask
    owner = np.concatenate((np.arange(n), paired))
    foreign = owner[None, :] != np.arange(n)[:, None]
    found = likelihood(sampler, masks, scans, ratio, noise_std, generator).cpu().numpy()
    figures = np.full((n, 2, 2), np.nan)
    figures[:, 0] = ranked(found, np.arange(n), foreign)
    if len(paired):
        right = n + np.arange(len(paired))
        figures[paired, 1] = ranked(found[paired], right, foreign[paired])
    summary = LinkageSummary.from_matches(figures, foreign.sum(1) + 1, np.zeros(n, np.int64))
    values = [summary.value(kind, f) for kind in ("same", "other") for f in ("rank1", "auc")]
    return MaskLinkage(n, summary.candidates() or 1.0, *values)
