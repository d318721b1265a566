"""Compressed sensing, unrolled and plug-and-play networks, the ensemble and the newer floors."""

import math

import numpy as np
import pytest
import torch

from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.certify import certify, last_gain, void_because
from infomri_core.attacks.ensemble import Ensemble
from infomri_core.attacks.floors.class_means import ClassMeans
from infomri_core.attacks.floors.diagnosis import DiagnosisFloor
from infomri_core.attacks.floors.prior import k_means
from infomri_core.attacks.linear.conjugate import symmetrise, wiener
from infomri_core.attacks.networks.learned import Progress
from infomri_core.attacks.sparse.tv import TotalVariation, divergence, gradient
from infomri_core.attacks.sparse.wavelet import DAUBECHIES4, HAAR, WaveletNorm
from infomri_core.attacks.sparse.wavelet import analyse as wavelets_of
from infomri_core.attacks.sparse.wavelet import synthesise as image_of
from infomri_core.audit.adversaries import Adversaries, load_adversaries
from infomri_core.models.unrolled import UnrolledNetwork
from infomri_core.physics.covariance import spread
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, measure, zero_fill
from infomri_core.sampling import VariableDensityPolicy, draw_masks
from infomri_core.system.errors import InputError

SIGMA = 0.02
SHAPES = [(32, 32), (17, 30), (8, 9)]


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _blocks(n, shape, seed=0):
    """Piecewise constant: three overlapping rectangles of random place, size and brightness."""
    generator = _generator(seed)
    images = torch.full((n, *shape), 0.1)
    rows, columns = torch.arange(shape[0]), torch.arange(shape[1])
    for image in images:
        for _ in range(3):
            low, size, level = (torch.rand(2, generator=generator) for _ in range(3))
            top, left = 0.7 * low * torch.tensor(shape)
            tall, wide = (0.2 + 0.4 * size) * torch.tensor(shape)
            inside = (rows[:, None] >= top) & (rows[:, None] < top + tall)
            image[inside & (columns >= left) & (columns < left + wide)] = 0.2 + 0.8 * level[0]
    return images


def _measured(images, ratio=0.25, seed=3, noise_std=SIGMA):
    policy = VariableDensityPolicy((images.shape[1], images.shape[2]))
    masks = draw_masks(policy(ratio), len(images), generator=_generator(seed))
    return measure(fft2c(images), masks, noise_std, _generator(seed + 1)), masks


@pytest.mark.parametrize("name", ["tv", "wavelet"])
def test_sparsity_beats_zero_filling_on_a_piecewise_smooth_phantom(name):
    attack = attacks.build(name, (32, 32))
    policy = VariableDensityPolicy((32, 32))
    attack.fit(AuditSet.of(_blocks(12, (32, 32)), policy, [0.25], SIGMA, _generator()))
    truth = _blocks(8, (32, 32), seed=9)
    y, masks = _measured(truth)
    naive = psnr(torch.real(zero_fill(y)), truth)
    assert (psnr(attack.reconstruct(y, masks), truth) > naive + 1).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("taps", [HAAR, DAUBECHIES4])
def test_the_wavelet_transform_is_orthonormal(shape, taps):
    basis = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    matrix = wavelets_of(basis, taps).flatten(1)
    assert torch.allclose(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64))
    assert torch.allclose(image_of(wavelets_of(basis, taps), taps), basis)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_constant_image_has_no_wavelet_details_and_no_variation(shape):
    flat = torch.full((1, *shape), 0.7)
    weight = torch.ones(1, 1, 1)
    if not shape[0] % 2 and not shape[1] % 2:
        assert torch.allclose(WaveletNorm(HAAR).shrink(flat, weight, None)[0], flat, atol=1e-5)
    assert torch.allclose(TotalVariation().shrink(flat, weight, None)[0], flat)


@pytest.mark.parametrize("shape", SHAPES)
def test_divergence_is_minus_the_adjoint_of_the_gradient(shape):
    x = torch.randn(3, *shape, generator=_generator(), dtype=torch.float64)
    p = torch.randn(2, 3, *shape, generator=_generator(1), dtype=torch.float64)
    assert torch.isclose((gradient(x) * p).sum(), -(x * divergence(p)).sum())


def test_the_variation_shrinks_towards_its_proximal_point():
    image = torch.rand(1, 9, 9, generator=_generator(), dtype=torch.float64)
    weight, memory = torch.full((1, 1, 1), 0.1, dtype=torch.float64), None
    for _ in range(300):
        point, memory = TotalVariation().shrink(image, weight, memory)

    def objective(x):
        variation = gradient(x).square().sum(0).sqrt().sum()
        return float(0.5 * (x - image).square().sum() + 0.1 * variation)

    for seed in range(20):
        step = 1e-2 * torch.randn(1, 9, 9, generator=_generator(seed), dtype=torch.float64)
        assert objective(point) <= objective(point + step)


def test_each_stage_of_an_unrolled_network_agrees_with_noiseless_data():
    shape = (16, 13)
    y, masks = _measured(_blocks(3, shape), noise_std=0.0)
    target, count = symmetrise(y, masks)
    seen, met = count > 0, []

    def consistent(image, rest):
        prior = rest * torch.ones(shape)
        out = wiener(y, masks, fft2c(image), prior, torch.tensor(1e-6))
        met.append(float((fft2c(out) - target)[seen].abs().max()))
        return out

    torch.manual_seed(0)
    network = UnrolledNetwork(1, 8, 4, 0.5)
    for stage in network.stages:
        torch.nn.init.normal_(stage.leave.weight, std=0.1)
    with torch.no_grad():
        network(torch.zeros(3, *shape), torch.rand(3, 1, *shape), consistent)
    assert len(met) == 5
    assert max(met) < 1e-4


def test_an_untrained_unrolled_network_keeps_a_start_that_agrees_with_the_data():
    network = UnrolledNetwork(1, 8, 3, 0.5)
    start = torch.rand(2, 15, 16, generator=_generator())
    assert torch.equal(network(start, torch.zeros(2, 1, 15, 16), lambda x, rest: x), start)


@pytest.fixture(scope="module")
def study():
    shape, images = (16, 16), _blocks(24, (16, 16))
    adversaries = Adversaries()
    for name in ("mean", "lmmse", "tv"):
        attack = attacks.build(name, shape)
        attack.fit(AuditSet.of(images, VariableDensityPolicy(shape), [0.25], SIGMA, _generator()))
        adversaries.attacks[name] = attack
    ensemble = Ensemble(shape).bind(adversaries.attacks, ["lmmse", "tv"])
    adversaries.attacks["ensemble"] = ensemble
    return adversaries


def test_the_ensemble_is_the_mean_of_its_members_here_and_at_the_sites(study):
    y, masks = _measured(_blocks(4, (16, 16), seed=5))
    for adversaries in (study, load_adversaries(study.to_arrays(), (16, 16), torch.device("cpu"))):
        images = adversaries.reconstruct(("arm", 4.0), y, masks, torch.zeros(4, 1))
        assert torch.allclose(images["ensemble"], (images["lmmse"] + images["tv"]) / 2)
        alone = adversaries.attacks["ensemble"].reconstruct(y, masks)
        assert torch.allclose(alone, images["ensemble"])


def test_the_diagnosis_floor_is_found_again_at_any_acceleration():
    images = _blocks(24, (16, 16))
    cell = ("arm", 1 / 0.15)
    floor = DiagnosisFloor((16, 16)).fit_logits(images, images.mean((1, 2))[:, None])
    arrays = Adversaries(diagnosis={cell: floor}).to_arrays()
    loaded = load_adversaries(arrays, (16, 16), torch.device("cpu"))
    y, masks = _measured(images[:2])
    assert set(loaded.reconstruct(cell, y, masks, torch.zeros(2, 1))) == {"diagnosis"}


def test_an_ensemble_travels_as_names_alone_and_is_refused_without_its_members(study):
    arrays = study.to_arrays()
    assert {name: a.tolist() for name, a in arrays["ensemble"].items()} == {
        "lmmse": [1.0],
        "tv": [1.0],
    }
    lonely = {name: parts for name, parts in arrays.items() if name != "tv"}
    for broken in (
        lonely,
        arrays | {"ensemble": {}},
        arrays | {"ensemble": {"ensemble": np.ones(1, np.float32)}},
        arrays | {"ensemble": {"lmmse": np.full(1, 2, np.float32)}},
    ):
        with pytest.raises(InputError):
            load_adversaries(broken, (16, 16), torch.device("cpu"))


def test_centroids_are_cluster_means_and_the_floor_is_one_of_them():
    images = torch.cat([torch.full((30, 8, 8), 0.2), torch.full((10, 8, 8), 0.9)])
    centroids = k_means(images, 2)
    assert sorted(float(c.mean()) for c in centroids) == pytest.approx([0.2, 0.9])
    floor = attacks.build("centroid", (8, 8))
    floor.fit(AuditSet.of(images, VariableDensityPolicy((8, 8)), [0.25], SIGMA, _generator()))
    assert torch.allclose(floor.image, torch.full((8, 8), 0.2))


def test_a_sure_diagnosis_gives_its_class_mean_and_an_unsure_one_the_blend():
    labels = np.eye(2, dtype=np.uint8)[np.arange(4000) % 2]
    images = torch.from_numpy(labels[:, :1].astype(np.float32))[..., None].expand(-1, 4, 4)
    floor = ClassMeans((4, 4)).fit_labels(images.contiguous(), labels)
    logits = torch.tensor([[30.0, -30.0], [-30.0, 30.0], [0.0, 0.0], [1.0, 0.0]])
    found = floor.reconstruct_from(logits).mean((1, 2))
    expected = torch.tensor([1.0, 0.0, 0.5, float(torch.sigmoid(torch.tensor(1.0)))])
    assert (found - expected).abs().max() < 2e-3
    copy = ClassMeans((4, 4)).load(floor.to_arrays())
    assert torch.equal(copy.reconstruct_from(logits), floor.reconstruct_from(logits))


def test_labels_that_hold_each_alone_are_blended_over_the_patterns_that_occur():
    labels = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 500, np.uint8)
    weights = torch.tensor([0.3, 0.5])
    images = torch.einsum("nl,l->n", torch.from_numpy(labels).float(), weights)
    floor = ClassMeans((1, 1)).fit_labels(images[:, None, None], labels)
    logits = torch.tensor([[0.7, -1.1]])
    expected = float(logits.sigmoid() @ weights)
    assert float(floor.reconstruct_from(logits)) == pytest.approx(expected, abs=5e-3)


def test_the_factors_hold_the_whole_sample_covariance():
    for n, shape in ((7, (6, 5)), (60, (6, 5))):
        images = torch.rand(n, *shape, generator=_generator())
        known = spread(images, _generator())
        factors = known.factors.flatten(1).double()
        expected = torch.cov(images.flatten(1).double().T)
        assert torch.allclose(factors.T @ factors, expected, atol=1e-6)
        assert float(known.lost.max()) < 1e-6


def test_training_that_still_gained_at_its_end_is_not_certified():
    steady = [Progress(step, 0.1, min(20.0, 10.0 + step / 5)) for step in range(0, 101, 10)]
    rising = [Progress(step, 0.1, 10.0 + step / 50) for step in range(0, 101, 10)]
    assert last_gain(steady) == 0
    assert last_gain(rising) == pytest.approx(0.2)
    images = _blocks(12, (16, 16))
    attack = attacks.build("unet", (16, 16), n_steps=1, width=8)
    attack.fit(AuditSet.of(images, VariableDensityPolicy((16, 16)), [0.25], SIGMA, _generator()))
    for history, converged in ((steady, True), (rising, False)):
        attack.history = history
        certificate = certify(attack, attack.start, images, SIGMA, _generator())
        assert certificate.strong
        assert certificate.passed == certificate.converged == converged


def test_an_audit_is_void_where_its_strongest_attack_failed_the_control_mask():
    images = _blocks(12, (16, 16))
    fitted = {
        name: attacks.build(name, (16, 16)).fit(
            AuditSet.of(images, VariableDensityPolicy((16, 16)), [0.25], SIGMA, _generator())
        )
        for name in ("lmmse", "mean")
    }
    certificates = {
        name: certify(attack, fitted["lmmse"], images, SIGMA, _generator())
        for name, attack in fitted.items()
    }
    assert not void_because([("arm at 4x", "lmmse")], certificates)
    assert "arm at 4x" in void_because([("arm at 4x", "mean")], certificates)
    assert "unknown" in void_because([("arm at 4x", "unknown")], certificates)
