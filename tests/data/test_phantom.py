"""Laws of the phantoms: same seed, same knees; findings where they should be; a best mask."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from infomri_core.data import SliceDataset, open_dataset
from infomri_core.data.phantom.anatomy import FINDINGS, draw_slices
from infomri_core.data.phantom.dataset import draw_population
from infomri_core.data.phantom.oracle import finding_energy, oracle_probabilities
from infomri_core.physics.kspace import fft2c, measure, reflect
from infomri_core.sampling import UniformPolicy, VariableDensityPolicy, draw_masks
from infomri_core.system.errors import InputError

SIZE, RATIO, NOISE = 48, 1 / 32, 0.02


def everything(data: SliceDataset) -> torch.Tensor:
    return data.images(np.arange(len(data)))


def test_the_same_uri_gives_the_same_images() -> None:
    uri = "phantom:?patients=6&size=32&seed=5&hospital=north"
    assert torch.equal(everything(open_dataset(uri)), everything(open_dataset(uri)))
    other = everything(open_dataset(uri.replace("seed=5", "seed=6")))
    assert not torch.equal(everything(open_dataset(uri)), other)


def test_more_patients_add_to_those_there_are() -> None:
    few, many = (draw_population("north", n, 3, 0.4, seed=1) for n in (5, 9))
    assert np.array_equal(few[1], many[1][:15])
    assert np.array_equal(few[0].shape, many[0].shape[:15])


def test_a_hospital_is_the_same_alone_and_among_others() -> None:
    alone = open_dataset("phantom:?patients=5&size=32&hospital=north&prevalence=0.2")
    among = open_dataset("phantom:?patients=5&size=32&hospital=south,north&prevalence=0.6,0.2")
    rows = np.flatnonzero(among.table.hospital == "north")
    assert torch.equal(among.images(rows), everything(alone))
    assert among.table.patients[rows].tolist() == alone.table.patients.tolist()


@pytest.mark.parametrize("size", [16, 33, 64])
def test_images_are_magnitudes_in_the_unit_interval(size: int) -> None:
    images = everything(open_dataset(f"phantom:?patients=4&slices=3&size={size}"))
    assert images.shape == (12, size, size) and images.dtype == torch.float32
    assert images.min() >= 0.0 and images.max() == 1.0


@pytest.mark.parametrize("prevalence", [0.0, 0.25, 0.7, 1.0])
def test_each_finding_has_its_prevalence_among_patients(prevalence: float) -> None:
    _, amount = draw_population("north", 200, 4, prevalence, seed=3)
    share = (amount.reshape(200, 4, -1).max(axis=1) > 0).mean(axis=0)
    np.testing.assert_allclose(share, prevalence, atol=0.02)


def test_findings_fall_independently_of_each_other() -> None:
    _, amount = draw_population("north", 400, 1, 0.4, seed=3)
    correlation = np.corrcoef((amount > 0).T)
    assert np.abs(correlation - np.eye(3)).max() < 0.1


def test_labels_say_which_slices_show_a_finding_and_neighbours_agree() -> None:
    _, amount = draw_population("north", 50, 6, 1.0, seed=0)
    shown = amount.reshape(50, 6, 3) > 0
    assert (shown.sum(axis=1) >= 3).all()
    assert (np.diff(shown.astype(int), axis=1) == 1).sum(axis=1).max() <= 1


def test_neighbouring_slices_are_more_alike_than_patients() -> None:
    images = everything(open_dataset("phantom:?patients=12&slices=5&prevalence=0"))
    volumes = images.reshape(12, 5, 64, 64)
    within = (volumes[:, 1:] - volumes[:, :-1]).square().mean()
    between = (volumes[1:] - volumes[:-1]).square().mean()
    assert within < 0.5 * between


def test_hospitals_differ_by_their_scanner_alone() -> None:
    north = everything(open_dataset("phantom:?hospital=north&intensity=0.8"))
    bent = everything(open_dataset("phantom:?hospital=north&intensity=1.4"))
    assert north.mean() > bent.mean() + 0.05


def test_findings_live_at_different_spatial_scales() -> None:
    energy = finding_energy(64)
    change = energy / energy.sum(dim=(-2, -1), keepdim=True)
    axis = torch.arange(64.0) - 32
    radius = torch.hypot(axis[:, None], axis[None])
    tear, oedema, texture = ((part * radius).sum().item() for part in change)
    assert oedema < 0.7 * texture and texture < tear


def test_a_finding_changes_its_own_place_only() -> None:
    anatomy, none = draw_population("north", 8, 1, 0.0, seed=0)
    healthy = draw_slices(anatomy, none, 64)
    for number, _ in enumerate(FINDINGS):
        amount = none.copy()
        amount[:, number] = 1.0
        change = np.abs(draw_slices(anatomy, amount, 64) - healthy)
        assert (change.max(axis=(1, 2)) > 0.1).all()
        assert (change > 0.02).mean() < 0.35


def test_the_finding_energy_is_symmetric_under_conjugation() -> None:
    for size in (32, 33):
        energy = finding_energy(size, n_patients=8)
        torch.testing.assert_close(energy, reflect(energy), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("ratio", [1 / 32, 0.1, 0.5, 0.8, 1.0])
def test_the_oracle_keeps_the_budget_and_takes_no_pair_twice(size: int, ratio: float) -> None:
    chosen = oracle_probabilities(size, ratio, n_patients=8)
    assert chosen.mean().item() == pytest.approx(ratio, rel=1e-5)
    assert chosen.min() >= 0.0 and chosen.max() <= 1.0
    if ratio < 0.5:
        number = torch.arange(size * size).reshape(size, size)
        assert not ((chosen > 0) & (reflect(chosen) > 0) & (reflect(number) != number)).any()


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    n_positive = labels.sum()
    ranks = rankdata(scores)[labels == 1].sum() - n_positive * (n_positive + 1) / 2
    return float(ranks / (n_positive * (len(labels) - n_positive)))


def features(data: SliceDataset, mask: torch.Tensor) -> torch.Tensor:
    """Real part, imaginary part and log energy at the sampled positions, (n, 3 m)."""
    generator = torch.Generator().manual_seed(0)
    sampled = measure(fft2c(everything(data)), mask, NOISE, generator)[:, mask > 0]
    return torch.cat([sampled.real, sampled.imag, sampled.abs().square().log()], dim=1).double()


def mean_auroc(mask: torch.Tensor, train: SliceDataset, test: SliceDataset) -> float:
    """Mean AUROC over the findings of a ridge classifier that sees the masked k-space alone."""
    x, x_test = features(train, mask), features(test, mask)
    mean, std = x.mean(dim=0), x.std(dim=0)
    x, x_test = (x - mean) / std, (x_test - mean) / std
    labels = torch.from_numpy(train.table.labels).double()
    gram = x @ x.T + x.shape[1] * torch.eye(len(x), dtype=torch.float64)
    weights = x.T @ torch.linalg.solve(gram, labels - labels.mean(dim=0))
    scores = (x_test @ weights).numpy()
    return float(np.mean([auroc(scores[:, k], test.table.labels[:, k]) for k in range(3)]))


@pytest.fixture(scope="module")
def patients() -> tuple[SliceDataset, SliceDataset]:
    return (
        open_dataset(f"phantom:?patients=1000&slices=1&size={SIZE}&seed=11"),
        open_dataset(f"phantom:?patients=600&slices=1&size={SIZE}&seed=12"),
    )


def half_plane_mask(score: torch.Tensor) -> torch.Tensor:
    """The positions of highest score within the budget, one of each conjugate pair."""
    number = torch.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    score = score.masked_fill(reflect(number) < number, -torch.inf)
    best = score.flatten().argsort(descending=True)[: round(RATIO * SIZE * SIZE)]
    return torch.zeros(SIZE * SIZE).index_fill(0, best, 1.0).reshape(SIZE, SIZE)


def test_the_oracle_mask_beats_variable_density_at_equal_budget(
    patients: tuple[SliceDataset, SliceDataset],
) -> None:
    oracle = draw_masks(oracle_probabilities(SIZE, RATIO), 1, generator=torch.Generator())[0]
    best = mean_auroc(oracle, *patients)
    for exponent in (4.0, 8.0):
        density = VariableDensityPolicy((SIZE, SIZE), "2d", exponent)(RATIO)
        masks = draw_masks(density, 2, generator=torch.Generator().manual_seed(1))
        assert (masks.sum(dim=(1, 2)) == oracle.sum()).all()
        other = float(np.mean([mean_auroc(mask, *patients) for mask in masks]))
        assert 1.0 - best < 0.5 * (1.0 - other)


def test_the_oracle_mask_beats_low_frequencies_without_redundancy(
    patients: tuple[SliceDataset, SliceDataset],
) -> None:
    axis = torch.arange(SIZE) - SIZE / 2
    low = half_plane_mask(-torch.hypot(axis[:, None], axis[None]))
    oracle = half_plane_mask(oracle_probabilities(SIZE, RATIO))
    assert low.sum() == oracle.sum()
    assert mean_auroc(oracle, *patients) > mean_auroc(low, *patients) + 0.03


def test_a_mask_of_least_finding_energy_loses_to_every_other(
    patients: tuple[SliceDataset, SliceDataset],
) -> None:
    worst = mean_auroc(half_plane_mask(-finding_energy(SIZE).sum(dim=0)), *patients)
    for policy in (
        VariableDensityPolicy((SIZE, SIZE), "2d", 4.0),
        UniformPolicy((SIZE, SIZE), "2d"),
    ):
        mask = draw_masks(policy(RATIO), 1, generator=torch.Generator().manual_seed(2))[0]
        assert worst < mean_auroc(mask, *patients) - 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("patients=1", "patients: expected at least 2"),
        ("slices=0", "slices: expected at least 1"),
        ("size=4", "size: expected at least 16"),
        ("prevalence=1.5", r"a share in \[0, 1\]"),
        ("intensity=0", "an exponent"),
        ("seed=-1", "seed: expected at least 0"),
        ("hospital=a,b&prevalence=.1,.2,.3", r"one value or 2 \(one per hospital\), got 3"),
        ("role=audits", "did you mean 'audit'"),
    ],
)
def test_impossible_phantoms_are_refused(options: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(f"phantom:?{options}")


def test_a_path_or_an_impossible_ratio_is_refused() -> None:
    with pytest.raises(InputError, match="drop the path"):
        open_dataset("phantom:knees.h5")
    with pytest.raises(InputError, match="a share in"):
        oracle_probabilities(16, 0.0)
