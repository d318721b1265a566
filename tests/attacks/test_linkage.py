"""Laws of linkage: likelihood, ranks, and the summary that leaves a site."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infomri_core.attacks.linkage import Gallery, Likeness, link, other_slice, ranked, same_scan
from infomri_core.physics.kspace import fft2c, measure
from infomri_core.randomness.seeds import torch_generator
from infomri_core.sampling import UniformPolicy, draw_masks
from infomri_core.summaries.linkage_summary import LinkageSummary
from infomri_core.system.errors import InputError

SHAPE = (7, 6)


def _scans(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((n, *SHAPE), generator=torch_generator(seed))


def _measured(images: torch.Tensor, noise_std: float, seed: int = 0, ratio: float = 0.4):
    generator = torch_generator("y", seed)
    masks = draw_masks(UniformPolicy(SHAPE)(ratio), len(images), generator=generator)
    return measure(fft2c(images), masks, noise_std, generator), masks


def test_the_likelihood_of_the_same_scan_is_the_noise_s_own() -> None:
    scans = _scans(5)
    y, masks = _measured(scans[:3], 0.3)
    k = fft2c(scans.double())
    noise = torch.distributions.Normal(0.0, 0.3)
    exact = torch.stack(
        [
            torch.stack([_log_density(noise, y[q], masks[q], k[c]) for c in range(5)])
            for q in range(3)
        ]
    )
    ours = same_scan(y, masks, scans, 0.3)
    torch.testing.assert_close(
        ours - ours[:, :1], (exact - exact[:, :1]).double(), rtol=1e-5, atol=1e-4
    )


def _log_density(noise, y, mask, k):
    seen = mask > 0
    difference = (y - k.to(y.dtype))[seen]
    return noise.log_prob(torch.view_as_real(difference)).sum()


def test_another_slice_that_equals_the_first_is_the_same_scan() -> None:
    scans = _scans(6)
    y, masks = _measured(scans, 0.2)
    identical = Likeness(scans.mean(0), torch.ones(SHAPE), torch.zeros(SHAPE))
    a = same_scan(y, masks, scans, 0.2)
    b = other_slice(y, masks, scans, 0.2, identical)
    torch.testing.assert_close(a - a[:, :1], b - b[:, :1], rtol=1e-4, atol=1e-3)


def test_likeness_finds_what_slices_of_a_patient_share() -> None:
    generator = torch_generator(3)
    base = torch.randn((400, 1, *SHAPE), generator=generator)
    own = torch.randn((400, 2, *SHAPE), generator=generator)
    images = (0.8**0.5 * base + 0.2**0.5 * own).reshape(-1, *SHAPE)
    likeness = Likeness.fit(images, np.repeat(np.arange(400), 2))
    assert abs(float(likeness.keep.mean()) - 0.8) < 0.03
    assert abs(float(likeness.residual.mean()) - (1 - 0.8**2)) < 0.05


@given(st.integers(0, 50), st.integers(2, 12))
def test_rank_and_auc_are_those_of_every_pair(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    likelihood = generator.integers(0, 4, (n, n)).astype(float)
    foreign = ~np.eye(n, dtype=bool)
    figures = ranked(likelihood, np.arange(n), foreign)
    for q in range(n):
        others = likelihood[q, foreign[q]]
        wins = (likelihood[q, q] > others).mean() + (likelihood[q, q] == others).mean() / 2
        assert figures[q, 1] == pytest.approx(wins)
        best = others.max() <= likelihood[q, q]
        assert figures[q, 0] == pytest.approx(best / (1 + (others == likelihood[q, q]).sum()))


def test_an_exact_measurement_finds_its_scan_and_pure_noise_is_chance() -> None:
    scans = _scans(40)
    patients = np.repeat(np.arange(20), 2)
    gallery = Gallery.of(patients)
    slots = np.arange(20) % 4
    likeness = Likeness.fit(scans, patients)
    for noise_std, low, high in ((1e-3, 1.0, 1.0), (1e4, 0.25, 0.75)):
        y, masks = _measured(scans[gallery.measured], noise_std)
        summary = link(
            y, masks, gallery, lambda rows: scans[torch.from_numpy(rows)], noise_std, likeness,
            slots,
        )  # fmt: skip
        assert summary.candidates() == 39
        assert low <= summary.value("same", "auc") <= high


def test_nothing_to_lose_to_is_undefined() -> None:
    scans = _scans(1)
    y, masks = _measured(scans, 0.1)
    gallery = Gallery.of(np.zeros(1))
    likeness = Likeness.fit(scans, np.zeros(1))
    summary = link(
        y, masks, gallery, lambda rows: scans[torch.from_numpy(rows)], 0.1, likeness,
        np.zeros(1, np.int64),
    )  # fmt: skip
    assert summary.value("same", "rank1") is None
    assert summary.candidates() is None


def test_the_gallery_is_bounded_and_never_pairs_two_patients() -> None:
    patients = np.repeat(np.arange(100), 3)
    gallery = Gallery.of(patients)
    assert len(gallery.measured) == 32
    np.testing.assert_array_equal(patients[gallery.measured], patients[gallery.other])
    assert (gallery.measured != gallery.other).all()


def _summary(seed: int, n: int = 4) -> LinkageSummary:
    generator = np.random.default_rng(seed)
    figures = generator.random((n, 2, 2))
    figures[0, 1] = np.nan
    return LinkageSummary.from_matches(figures, np.full(n, 2 * n - 1), generator.integers(0, 3, n))


@given(st.integers(0, 30))
def test_merging_is_associative_and_weighted(seed: int) -> None:
    a, b, c = (_summary(seed + k, 3 + k) for k in range(3))
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    for name, array in left.to_arrays().items():
        np.testing.assert_allclose(array, right.to_arrays()[name], atol=1e-12)


def test_the_message_form_comes_back_and_others_are_refused() -> None:
    arrays = _summary(1).to_arrays()
    again = LinkageSummary.from_arrays(arrays)
    np.testing.assert_array_equal(again.sums, arrays["sums"])
    for name, wrong in (("sums", arrays["sums"] + 9), ("weight", arrays["weight"][:1])):
        with pytest.raises(ValueError):
            LinkageSummary.from_arrays({**arrays, name: wrong})


def test_a_likeness_of_another_form_is_refused() -> None:
    arrays = Likeness.fit(_scans(4), np.array([0, 0, 1, 1])).to_arrays()
    assert Likeness.from_arrays(arrays, SHAPE).to_arrays().keys() == arrays.keys()
    for name, wrong in (("keep", arrays["keep"] + 2), ("mean", arrays["mean"][:2])):
        with pytest.raises(InputError):
            Likeness.from_arrays({**arrays, name: wrong}, SHAPE)


def test_the_gallery_stands_in_the_order_of_rows_whatever_patients_are_called() -> None:
    """Measurements come in the order of rows: by names, each would meet another's scan, and
    linkage would look like chance."""
    patients = np.array(["west", "west", "west", "east", "east", "north"])
    gallery = Gallery.of(patients)
    assert gallery.measured.tolist() == [1, 4, 5] and gallery.other.tolist() == [0, 3, -1]
    measured = np.flatnonzero(np.isin(np.arange(len(patients)), gallery.measured))
    assert measured.tolist() == gallery.measured.tolist()
