"""Linkage by the mask alone: everything where the mask copies the patient, else nothing."""

from typing import final

import numpy as np
import pytest
import torch

from infomri_core.attacks.mask_linkage import link_masks
from infomri_core.physics.kspace import ifft2c, sample
from infomri_core.randomness.draws import Randomness
from infomri_core.report.mask_linkage import META, mask_linkage, mask_sentence
from infomri_core.sampling import Acquisition, Amortised, Sampler, VariableDensityPolicy
from infomri_core.sampling.sampler import Noise
from tests.support.rows import row_of

SHAPE = (16, 16)


@final
class Copier(Sampler):
    """Measures where the image is bright: as much of a patient as a mask can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.shape, self.constraint = SHAPE, "2d"

    def acquire(
        self, kspace: torch.Tensor, ratio: float, noise: Noise, generator: Randomness
    ) -> Acquisition:
        image = ifft2c(kspace).real.flatten(1)
        least = image.topk(int(ratio * image.shape[1]), dim=1).values[:, -1:]
        mask = (image >= least).float().view(kspace.shape)
        return Acquisition(sample(kspace + noise(), mask), mask)


def scans(n_patients: int) -> tuple[torch.Tensor, np.ndarray]:
    """Two slices a patient, the second the first with a little of another image."""
    generator = torch.Generator().manual_seed(0)
    first, other = torch.rand(2, n_patients, *SHAPE, generator=generator)
    both = torch.stack((first, 0.8 * first + 0.2 * other), dim=1).flatten(0, 1)
    return both, np.repeat(np.arange(n_patients), 2)


@pytest.mark.parametrize("copies", [True, False])
def test_a_mask_that_copies_the_patient_finds_it_and_one_drawn_before_does_not(
    copies: bool,
) -> None:
    images, patients = scans(24)
    sampler = Copier() if copies else Amortised(VariableDensityPolicy(SHAPE))
    generator = torch.Generator().manual_seed(1)
    fetch = images.__getitem__
    found = link_masks(
        sampler, patients, lambda rows: fetch(torch.from_numpy(rows)), 0.25, 0.01, generator
    )
    assert found.n == 24 and found.candidates == 24 * 2 - 1
    if copies:
        assert (found.same_rank1, found.same_auc) == (1.0, 1.0)
        assert (found.other_rank1 or 0.0) > 0.9
    else:
        # Five standard deviations of a mean of 24 uniform ranks.
        assert abs((found.same_auc or 0.0) - 0.5) < 5 * (1 / 12 / 24) ** 0.5
        assert abs((found.other_auc or 0.0) - 0.5) < 5 * (1 / 12 / 24) ** 0.5


def test_the_report_says_it_of_samplers_that_look_and_of_no_others() -> None:
    given = {"suppression": "none", "beta": 0.0, "seed": 0, "acceleration": 8.0, "auroc": 0.9}
    looks = row_of(arm="seqmri-s0", sampler="seqmri", **given)
    plain = row_of(arm="uniform-s0", sampler="uniform", **given)
    entry = {"arm": "seqmri-s0", "acceleration": 8.0, "n": 20, "candidates": 40.0}
    entry |= {"same_rank1": 0.75, "same_auc": 0.9, "other_rank1": None, "other_auc": None}
    meta = {META: [entry]}
    assert "75%" in mask_sentence(looks, meta) and mask_sentence(plain, meta) == ""
    assert "not measured" in mask_sentence(looks, {})
    assert "75%" in "".join(mask_linkage([looks, plain], meta))
    assert mask_linkage([plain], meta) == []
