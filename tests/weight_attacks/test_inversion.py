"""Laws of attacks on updates: gradients, protection, labels read exactly, images sought."""

from dataclasses import replace

import numpy as np
import pytest
import tomli_w
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.data import open_dataset
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.weight_attacks.inversion import Case, audit_case, infer_label
from infomri_core.weight_attacks.inversion_activations import block_inputs, distance
from infomri_core.weight_attacks.inversion_search import Target, invert
from infomri_core.weight_attacks.inversion_spans import Spans
from infomri_core.weight_attacks.leakage import audit_labels, audit_sites, deal_sites, infer_counts
from infomri_core.weight_attacks.updates import (
    Protection,
    Update,
    cosine,
    gradient,
    local_update,
    matched,
    parameters,
)
from tests.support.small import AUDIT_URI, small_plan, small_table

RATIO = 0.25


@pytest.fixture(scope="module")
def model() -> SampledModel:
    plan = small_plan()
    uniform = next(arm for arm in plan.arms if arm.sampler == "uniform")
    return build_model(plan, uniform).eval()


@pytest.fixture(scope="module")
def audit() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    data = open_dataset(AUDIT_URI)
    labels = torch.from_numpy(data.table.labels.astype(np.float32))
    return data.images(np.arange(len(data))), labels, data.table.patients


def _measured(model: SampledModel, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    generator = torch_generator(seed)
    with torch.no_grad():
        return model.measure(images, model.draw(RATIO, len(images), generator), generator)


def _norm(update) -> float:
    return float(torch.stack([g.norm() for g in update]).norm())


def test_one_local_step_is_the_gradient_and_leaves_the_model_as_it_was(model, audit) -> None:
    images, labels, _ = audit
    y = _measured(model, images[:3])
    before = [p.detach().clone() for p in parameters(model)]
    update = local_update(model, y[None], labels[:3], 0.1)
    for a, b in zip(update, gradient(model, y, labels[:3])):
        torch.testing.assert_close(a, b)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(model)))


def test_clipping_bounds_every_sample_and_a_loose_clip_changes_nothing(model, audit) -> None:
    images, labels, _ = audit
    y, t = _measured(model, images[:3]), labels[:3]
    assert _norm(gradient(model, y, t, Protection(1e-3, 0.0))) <= 1e-3 + 1e-6
    for a, b in zip(gradient(model, y, t, Protection(1e6, 0.0)), gradient(model, y, t)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_truth_matches_its_own_update(model, audit) -> None:
    images, labels, _ = audit
    y = torch.stack([_measured(model, images[:2], k) for k in range(3)])
    update = local_update(model, y, labels[:2], 1e-9)
    assert float(cosine(matched(model, y, labels[:2]), update).detach()) > 1 - 1e-4


def test_the_label_of_a_single_sample_is_read_exactly(model, audit) -> None:
    images, labels, _ = audit
    for k in range(8):
        update = gradient(model, _measured(model, images[k : k + 1]), labels[k : k + 1])
        assert torch.equal(infer_label(update, exclusive=False), labels[k : k + 1])


def test_label_counts_follow_from_the_bias_gradient() -> None:
    labels = torch.tensor([[1.0, 0], [1, 1], [0, 0], [1, 0]])
    p = torch.tensor([0.4, 0.3])
    bias = (p - labels).mean(0)
    assert torch.equal(infer_counts((torch.zeros(1), bias), p, 4), labels.sum(0))


def test_updates_give_labels_away_and_noise_hides_them(model, audit) -> None:
    plain = audit_labels(model, *audit, RATIO, 4, 0, n_batches=4)
    hidden = audit_labels(model, *audit, RATIO, 4, 0, Protection(1e-3, 1000.0), n_batches=4)
    assert plain["proportion_error"] < plain["proportion_error_without_update"]
    assert plain["proportion_error"] < hidden["proportion_error"]


def test_simulated_sites_share_no_patient_and_leave_none_out() -> None:
    patients = np.repeat(np.arange(11), 2)
    generator = np.random.default_rng(0)
    sites = deal_sites(generator.integers(0, 2, (22, 1)), patients, 3, generator)
    dealt = [set(patients[rows]) for rows in sites]
    assert sum(map(len, dealt)) == len(set.union(*dealt)) == 11


def test_the_site_of_a_noise_update_is_a_guess(model, audit) -> None:
    report = audit_sites(model, *audit, RATIO, 2, 0, Protection(1e-3, 1000.0), n_sites=2)
    assert report["chance"] == 0.5
    assert abs(report["accuracy"] - 0.5) <= 0.45
    assert "note" in audit_sites(model, *(a[:2] for a in audit), RATIO, 2, 0)


@pytest.fixture(scope="module")
def prior(model, audit) -> LMMSE:
    images, _, patients = audit
    generator = torch_generator("prior")
    return LMMSE((32, 32)).fit(
        AuditSet.of(images[:16], model.sampler, [RATIO], 0.02, generator, patients[:16])
    )


def _target(model, audit, prior, n: int) -> tuple[Target, torch.Tensor]:
    images, labels, _ = audit
    rows = slice(20, 20 + n)
    with torch.no_grad():
        masks = model.draw(RATIO, n, torch_generator(1))[None]
    y = masks * fft2c(images[rows])
    update = local_update(model, y, labels[rows], 1e-3)
    return Target(model, update, labels[rows], masks, torch.zeros_like(y), prior), y[0]


def test_the_activations_of_a_small_batch_lie_in_the_spans_its_update_gives_away(
    model, audit, prior
) -> None:
    target, y = _target(model, audit, prior, 2)
    spans = Spans(model, target.update, 2, y.shape[1:])
    assert len(spans) > 0
    with torch.no_grad():
        assert float(spans.outside(y).max()) < 1e-5
        other = _measured(model, audit[0][:4])
        assert float(spans.outside(other).min()) > 1e-3
    assert len(Spans(model, target.update, 100, y.shape[1:])) == 0


def test_the_update_of_a_small_batch_says_what_each_image_fed_a_block(model, audit, prior) -> None:
    target, y = _target(model, audit, prior, 2)
    shared = (model, target.update, 2, (32, 32))
    found = block_inputs(*shared, np.random.default_rng(0))
    assert found is not None
    block, maps = found
    with torch.no_grad():
        table = torch.stack([distance(model, block, m.expand(2, *m.shape), y) for m in maps])
    assert float(table.min(0).values.max()) < 1e-4
    assert sorted(table.argmin(0).tolist()) == [0, 1]


def test_nothing_is_read_off_a_noisy_update_or_one_of_many_images(model, audit, prior) -> None:
    target, _ = _target(model, audit, prior, 2)
    noisy = _noisy(target.update)
    for update, n in ((noisy, 2), (target.update, 100)):
        assert block_inputs(model, update, n, (32, 32), np.random.default_rng(0)) is None


def _noisy(update: Update) -> Update:
    return tuple(g + g.std() * torch.randn(g.shape, generator=torch_generator(4)) for g in update)


@pytest.mark.parametrize(
    ("n", "noisy", "attacks"),
    [
        (1, False, ["activations", "spans"]),
        (2, False, ["activations", "spans"]),
        (1, True, ["spans"]),
        (4, False, ["matching"]),
    ],
)
def test_every_search_is_tried_and_one_out_of_time_answers_with_its_start(
    model, audit, prior, n, noisy, attacks
) -> None:
    target, _ = _target(model, audit, prior, n)
    if noisy:
        target = replace(target, update=_noisy(target.update))
    nothing = invert(target, 8, torch_generator(0), lambda: True)
    tried = invert(target, 8, torch_generator(0))
    assert [t.attack for t in nothing] == [t.attack for t in tried] == attacks
    for begun, found in zip(nothing, tried):
        assert found.images is not None and begun.images is not None
        assert not torch.equal(found.images, begun.images)
        assert found.mismatch < begun.mismatch


def test_one_sample_measured_wholly_is_rebuilt_and_dp_hides_it(audit, prior) -> None:
    images, labels, _ = audit
    table = small_table()
    table["model"]["width"] = 16
    plan = parse_plan(tomli_w.dumps(table))
    wide = build_model(plan, plan.arms[1]).eval()
    shared = (images[16:], labels[16:], prior, RATIO, 1e-3)
    won = audit_case(wide, Case(1, control=True), *shared, 100, 0)
    assert won["attack"] in {"activations", "spans"}
    assert won["psnr"] > won["psnr_without_update"] + 4
    guarded = Case(1, protection=Protection(1.0, 1.0), control=True)
    lost = audit_case(wide, guarded, *shared, 20, 0)
    assert not lost["matched"] and lost["psnr"] < won["psnr"] - 3


@pytest.mark.parametrize(
    "case",
    [Case(1), Case(1, knows_masks=False), Case(2, 2, Protection(1.0, 1.0))],
    ids=str,
)
def test_a_case_is_never_below_the_answer_without_the_update(model, audit, prior, case) -> None:
    images, labels, _ = audit
    once, again = (
        audit_case(model, case, images[16:], labels[16:], prior, RATIO, 1e-3, 2, 0)
        for _ in range(2)
    )
    assert once == again
    assert once["psnr_of_the_best_image"] >= once["psnr"] >= once["psnr_without_update"]
    assert once["psnr_of_measurement"] > once["psnr_without_update"]
    assert not once["matched"] and not once["ran_out_of_time"]
