"""What every attack promises, the learned ones' training, the diagnosis floor, the certificate."""

import numpy as np
import pytest
import torch

from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet, Scenarios, folds
from infomri_core.attacks.certify import certify
from infomri_core.attacks.floors.diagnosis import DiagnosisFloor
from infomri_core.attacks.registry import ATTACKS, FLOORS
from infomri_core.models.cnn import SmallCNN
from infomri_core.models.unet import UNet
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, measure
from infomri_core.sampling import UniformPolicy, VariableDensityPolicy, draw_masks
from infomri_core.system.errors import InputError

SHAPE, RATIOS, SIGMA = (16, 14), [0.1, 0.2], 0.05
STEPS = {
    "cnn": {"n_steps": 20},
    "unet": {"n_steps": 20, "width": 8},
    "unrolled": {"n_steps": 10, "width": 8},
    "pnp": {"n_steps": 20, "width": 8},
}
SINGLE = tuple(name for name in ATTACKS if name != "ensemble")


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _images(n, seed=0, shape=SHAPE):
    """A bright disc of random place and size on a fixed background."""
    generator = _generator(seed)
    rows, columns = (torch.arange(s) / s for s in shape)
    centre = 0.3 + 0.4 * torch.rand(2, n, 1, 1, generator=generator)
    radius = 0.15 + 0.2 * torch.rand(n, 1, 1, generator=generator)
    distance = torch.hypot(rows[:, None] - centre[0], columns[None, :] - centre[1])
    return (0.2 * rows[:, None] + 0.7 * torch.sigmoid(30 * (radius - distance))).clamp(0, 1)


def _policies(shape=SHAPE):
    return [UniformPolicy(shape), VariableDensityPolicy(shape)]


def _fit(name, n=40, seed=0, **options):
    attack = attacks.build(name, SHAPE, **(STEPS.get(name, {}) | options))
    return attack.fit(AuditSet.of(_images(n), _policies(), RATIOS, SIGMA, _generator(seed)))


def _measured(images, ratio=0.2, seed=5):
    masks = draw_masks(_policies()[1](ratio), len(images), generator=_generator(seed))
    return measure(fft2c(images), masks, SIGMA, _generator(seed + 1)), masks


@pytest.fixture(scope="module")
def fitted():
    return {name: _fit(name) for name in (*FLOORS, *SINGLE)}


def _names(fixed=(*FLOORS, *SINGLE)):
    return pytest.mark.parametrize("name", fixed)


@_names()
def test_an_attack_says_under_its_own_name_what_it_is(name):
    found = attacks.attack_class(name)
    assert found.name == name and found.options_class() == found(SHAPE).options
    assert name in FLOORS or (found.title and attacks.style_of(f"{name}@insider") == found.style)


def test_no_two_attacks_are_drawn_alike():
    styles = [attacks.style_of(name) for name in ATTACKS]
    assert len({style.colour for style in styles}) == len(styles)


@_names()
def test_reconstructions_are_images_in_range(fitted, name):
    output = fitted[name].reconstruct(*_measured(_images(5, 3)))
    assert output.shape == (5, *SHAPE)
    assert output.dtype == torch.float32
    assert 0 <= output.min() <= output.max() <= 1


@_names()
def test_an_attack_rebuilt_from_its_arrays_answers_the_same(fitted, name):
    arrays = fitted[name].to_arrays()
    assert arrays
    assert all(array.dtype == np.float32 for array in arrays.values())
    copy = attacks.build(name, SHAPE).load(arrays)
    measured = _measured(_images(5, 3))
    assert torch.equal(copy.reconstruct(*measured), fitted[name].reconstruct(*measured))


@_names()
def test_the_same_seed_fits_the_same_attack(fitted, name):
    torch.manual_seed(1234)
    again = _fit(name).to_arrays()
    assert all(np.array_equal(array, again[k]) for k, array in fitted[name].to_arrays().items())


@_names()
def test_fitting_leaves_the_global_random_state_alone(name):
    before = torch.get_rng_state()
    _fit(name, n=4, **({"n_steps": 1} if name in STEPS else {}))
    assert torch.equal(before, torch.get_rng_state())


@_names()
def test_arrays_of_another_shape_name_or_type_are_refused(fitted, name):
    arrays = fitted[name].to_arrays()
    key = next(iter(arrays))
    broken = [
        {k: v for k, v in arrays.items() if k != key},
        arrays | {"other": arrays[key]},
        arrays | {key: arrays[key].astype(np.float64)},
        arrays | {key: np.full_like(arrays[key], np.nan)},
        {},
    ]
    for candidate in broken:
        with pytest.raises(InputError):
            attacks.build(name, SHAPE).load(candidate)


@_names((*FLOORS, "lmmse", "tv", "unet", "unrolled", "pnp"))
def test_arrays_for_images_of_another_size_are_refused(fitted, name):
    with pytest.raises(InputError):
        attacks.build(name, (16, 16)).load(fitted[name].to_arrays())


@_names()
def test_an_audit_set_of_another_shape_or_with_nan_is_refused(name):
    for images in (torch.zeros(0, *SHAPE), _images(3)[:, 1:], _images(3) * float("nan")):
        with pytest.raises(InputError):
            attacks.build(name, SHAPE).fit(
                AuditSet.of(images, _policies(), RATIOS, SIGMA, _generator())
            )


@_names(SINGLE)
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_audit_images_do_not_break_an_attack(name, n):
    attack = _fit(name, n=n, **({"n_steps": 2} if name in STEPS else {}))
    assert torch.isfinite(attack.reconstruct(*_measured(_images(3, 3)))).all()


def test_an_unknown_attack_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'lmmse'"):
        attacks.build("lmse", SHAPE)


def test_the_mean_image_is_the_best_single_answer_and_the_constant_the_best_flat_one(fitted):
    truth = _images(40)
    measured = _measured(truth)
    error = {
        name: float((fitted[name].reconstruct(*measured) - truth).square().mean())
        for name in FLOORS
    }
    assert error["mean"] < error["constant"] < error["zero"]


def test_floors_ignore_the_measurement(fitted):
    one, other = _measured(_images(4, 3)), _measured(_images(4, 9), seed=11)
    for name in FLOORS:
        assert torch.equal(fitted[name].reconstruct(*one), fitted[name].reconstruct(*other))


def test_the_unet_is_not_below_lmmse_nor_the_small_cnn_above_it(fitted):
    truth = _images(100, 3)
    measured = _measured(truth)
    quality = {
        name: float(psnr(fitted[name].reconstruct(*measured), truth).mean())
        for name in ("mean", "cnn", "lmmse", "unet")
    }
    assert quality["lmmse"] > quality["mean"]
    assert quality["unet"] > quality["lmmse"] - 0.3
    assert quality["cnn"] < quality["lmmse"]


@_names(("cnn", "unet", "unrolled"))
def test_training_logs_convergence_and_stops_when_half_its_budget_brought_nothing(fitted, name):
    history, budget = fitted[name].history, fitted[name].budget
    every = budget.n_steps // 10
    assert [p.step for p in history] == [*range(0, budget.n_taken + 1, every)]
    best = max(history, key=lambda p: p.validation_psnr)
    assert budget.n_taken == min(budget.n_steps, max(p.step for p in history))
    stopped_early = budget.n_taken < budget.n_steps
    assert stopped_early == (budget.n_taken - best.step >= 5 * every and stopped_early)
    assert best.step + 5 * every >= budget.n_taken


def test_training_that_diverges_ends_with_the_best_state_so_far():
    attack = _fit("unet", learning_rate=1e30)
    assert torch.isfinite(attack.reconstruct(*_measured(_images(3, 3)))).all()
    assert attack.history[0].step == 0
    assert attack.diverged


def test_options_that_make_no_sense_are_refused():
    for options in ({"n_steps": 0}, {"batch_size": 0}, {"width": 7}):
        with pytest.raises(InputError):
            attacks.build("unet", SHAPE, **options)


@pytest.mark.parametrize("shape", [(28, 28), (17, 31), (16, 8)])
def test_an_untrained_unet_changes_nothing_at_any_size(shape):
    x = torch.randn(2, 5, *shape, generator=_generator())
    assert torch.equal(UNet(5, 1, 8)(x), torch.zeros(2, 1, *shape))


def test_the_small_cnn_sees_a_neighbourhood_of_five_by_five():
    torch.manual_seed(0)
    network = SmallCNN()
    x = torch.randn(1, 2, 15, 15, generator=_generator()).requires_grad_()
    network(x)[0, 0, 7, 7].backward()
    rows, columns = torch.nonzero(x.grad.abs().sum((0, 1)), as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 9, 5, 9)


@pytest.mark.parametrize("n_folds", [2, 4, 7])
def test_folds_hold_each_image_out_once_and_never_split_a_patient(n_folds):
    patients = np.array(list("aabccccddddeefgggh"))
    splits = folds(len(patients), n_folds, patients)
    assert len(splits) == n_folds
    assert sorted(np.concatenate([held for _, held in splits])) == list(range(len(patients)))
    for kept, held in splits:
        assert not set(patients[kept]) & set(patients[held])


def test_a_set_of_one_patient_is_on_both_sides():
    (kept, held), *rest = folds(3, 4, np.array(["a"] * 3))
    assert not rest
    assert list(kept) == list(held) == [0, 1, 2]


def test_scenarios_visit_every_arm_and_ratio_and_the_control():
    scenarios = Scenarios.of(_policies(), RATIOS, SIGMA, torch.device("cpu")).with_control()
    _, masks = scenarios.each(_images(10), _generator())
    counts = masks.sum((1, 2)).div(SHAPE[0] * SHAPE[1])
    for ratio, n in ((0.1, 4), (0.2, 4), (0.25, 2)):
        assert int(((counts - ratio).abs() < 0.01).sum()) == n


def test_the_diagnosis_floor_recovers_a_linear_law_and_beats_the_mean_image():
    logits = torch.randn(200, 2, generator=_generator())
    pattern = torch.randn(2, *SHAPE, generator=_generator(1)) * 0.05
    images = (0.5 + torch.einsum("nk,khw->nhw", logits, pattern)).clamp(0, 1)
    floor = DiagnosisFloor(SHAPE).fit_logits(images[:100], logits[:100])
    output = floor.reconstruct_from(logits[100:])
    assert psnr(output, images[100:]).mean() > 30
    assert psnr(images[:100].mean(0).expand(100, *SHAPE), images[100:]).mean() < 27


def test_logits_that_say_nothing_leave_the_mean_image():
    logits = torch.randn(60, 3, generator=_generator())
    images = torch.rand(60, *SHAPE, generator=_generator(1))
    floor = DiagnosisFloor(SHAPE).fit_logits(images, logits)
    assert (floor.reconstruct_from(logits) - images.mean(0)).abs().max() < 0.05


def test_logits_beyond_those_of_the_audit_set_answer_as_its_most_extreme():
    logits = torch.randn(50, 1, generator=_generator())
    floor = DiagnosisFloor(SHAPE).fit_logits(_images(50), logits)
    far = floor.reconstruct_from(torch.tensor([[1e6]]))
    assert torch.equal(far, floor.reconstruct_from(logits.max().view(1, 1)))


@pytest.mark.parametrize("n_labels", [1, 3])
def test_the_diagnosis_floor_survives_the_wire(n_labels):
    logits = torch.randn(20, n_labels, generator=_generator())
    floor = DiagnosisFloor(SHAPE).fit_logits(_images(20), logits)
    copy = DiagnosisFloor(SHAPE).load(floor.to_arrays())
    assert torch.equal(copy.reconstruct_from(logits), floor.reconstruct_from(logits))
    with pytest.raises(InputError):
        DiagnosisFloor((8, 8)).load(floor.to_arrays())


def test_constant_logits_are_answered_with_the_mean_image():
    floor = DiagnosisFloor(SHAPE).fit_logits(_images(10), torch.ones(10, 2))
    assert torch.allclose(floor.reconstruct_from(torch.ones(1, 2))[0], _images(10).mean(0))


def test_the_certificate_passes_the_reference_and_fails_the_small_cnn(fitted):
    held = _images(40, 3)
    certificates = {
        name: certify(fitted[name], fitted["lmmse"], held, SIGMA, _generator())
        for name in ("lmmse", "cnn", "unet")
    }
    assert certificates["lmmse"].passed
    assert certificates["lmmse"].psnr == certificates["lmmse"].psnr_lmmse
    assert not certificates["cnn"].passed
    assert certificates["unet"].passed
