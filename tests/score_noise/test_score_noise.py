"""Laws of the noise of evaluation: what one patient can change, and what the noise is."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.dp.accounting import epsilon
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.score_noise.bounded_scores import BoundedScores
from infomri_core.score_noise.mechanism import (
    Form,
    Ints,
    form_of,
    noise_multiplier,
    noise_std,
    noised,
)
from infomri_core.tasks.classification import Classification
from infomri_core.tasks.task import UNIT
from tests.support.small import small_plan

CELLS = (("a", 4.0), ("a", 8.0), ("b", 4.0))
ONE, TWO, MANY = (Classification((4, 4), tuple(map(str, range(n)))) for n in (1, 2, 14))
FORM = Form(CELLS, TWO, ("lmmse", "unet"), ("mean",))
KEY = "the key of a site that nobody else has"


def sums_of(
    form: Form,
    patients: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    psnr: np.ndarray,
    keep: np.ndarray,
    exclusive: bool = False,
) -> dict[str, Ints]:
    """Sums of the slices ``keep`` alone: logits (C, n, L) and psnr (C, attacks + floors, n)."""
    expected = np.full(form.n_quality, 25.0)
    form = replace(form, task=replace(form.task, exclusive=exclusive))
    reference = np.broadcast_to(form.task.reference(None), form.reference_shape)
    bounded = BoundedScores(form, patients[keep], reference, expected, 4.0)
    names = (*form.attacks, *form.floors)
    for c, cell in enumerate(form.cells):
        quality = {name: np.zeros((keep.sum(), 4)) for name in names}
        for i, name in enumerate(names):
            quality[name][:, 0] = psnr[c, i, keep]
        output, truth = torch.from_numpy(logits[c, keep]), torch.from_numpy(labels[keep])
        evidence = form.task.evidence(output, truth).numpy()
        bounded.add(cell, evidence, np.arange(keep.sum()), quality)
    return bounded.sums()


def loss_of(a: dict[str, Ints], b: dict[str, Ints], form: Form) -> float:
    """By how many standard deviations of a noise of multiplier one two vectors differ."""
    deviation = noise_std(form, 1.0)
    parts = [((a[f] - b[f]) / deviation[f]).ravel() for f in form.shapes()]
    return float(np.linalg.norm(np.concatenate(parts)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([0.1, 3.0, 1e6]), wild=st.booleans())
def test_no_patient_moves_the_joint_vector_by_more_than_the_noise_is_made_for(
    seed: int, scale: float, wild: bool
) -> None:
    draw = np.random.default_rng(seed)
    patients = draw.integers(0, 5, 17)
    labels = draw.integers(0, 2, (17, 2))
    logits = draw.normal(0, scale, (3, 17, 2))
    psnr = draw.normal(25, scale, (3, 3, 17))
    if wild:
        logits[draw.random(logits.shape) < 0.3] = draw.choice([np.nan, np.inf, -np.inf])
        psnr[draw.random(psnr.shape) < 0.3] = draw.choice([np.nan, np.inf, -np.inf])
    everybody = np.ones(17, bool)
    for exclusive in (False, True):
        data = (FORM, patients, labels, logits, psnr)
        whole = sums_of(*data, everybody, exclusive)
        for patient in np.unique(patients):
            less = sums_of(*data, patients != patient, exclusive)
            assert loss_of(whole, less, FORM) <= 1 + 1e-9


def test_the_bound_is_reached_so_no_noise_is_wasted() -> None:
    patients, labels = np.array([0, 0, 1]), np.zeros((3, 2), int)
    logits, psnr = np.full((3, 3, 2), -9.0), np.full((3, 3, 3), 50.0)
    everybody = np.ones(3, bool)
    whole = sums_of(FORM, patients, labels, logits, psnr, everybody)
    less = sums_of(FORM, patients, labels, logits, psnr, patients != 0)
    # The spread is counted over attacks alone: six of the seven figures.
    assert 0.98 < loss_of(whole, less, FORM) <= 1


@pytest.mark.parametrize("wanted", [0.5, 2.0, 8.0, 50.0])
def test_the_noise_multiplier_gives_the_epsilon_that_was_asked_for(wanted: float) -> None:
    multiplier = noise_multiplier(wanted, 1e-5)
    assert wanted * (1 - 1e-4) < epsilon([(multiplier, 1.0, 1)], 1e-5) <= wanted


def test_the_joint_loss_of_all_blocks_is_that_of_one_mechanism() -> None:
    for form in (FORM, Form(CELLS, ONE), Form(CELLS[:1], MANY, ("tv",))):
        stds, blocks = noise_std(form, 1.7), form.n_blocks()
        loss = sum(n * (UNIT / stds[family]) ** 2 for family, n in blocks.items())
        assert loss == pytest.approx(1 / 1.7**2, rel=1e-12)


def test_the_noise_has_the_stated_deviation_in_every_family() -> None:
    form = Form(CELLS, TWO, ("lmmse", "unet"), ("mean",))
    nothing = {f: np.zeros(s, np.int64) for f, s in form.shapes().items()}
    draws = [noised(nothing, form, 0.7, SecretStream.derived(KEY, i)) for i in range(400)]
    for family, std in noise_std(form, 0.7).items():
        values = np.concatenate([d[family].ravel() for d in draws]) / std
        assert abs(values.mean()) < 5 / np.sqrt(len(values))
        assert values.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(values)))


def test_one_stream_gives_the_same_bytes_and_another_gives_others() -> None:
    nothing = {f: np.zeros(s, np.int64) for f, s in FORM.shapes().items()}
    contexts = ("question one, data one", "question one, data one", "question one, data two")
    a, b, c = (noised(nothing, FORM, 1.0, SecretStream.derived(KEY, x)) for x in contexts)
    assert all((a[f] == b[f]).all() for f in a)
    assert all((a[f] != c[f]).any() for f in a)


def test_slices_of_one_patient_share_one_patients_weight() -> None:
    patients, labels = np.repeat([0, 1], [1, 5]), np.zeros((6, 2), int)
    logits, psnr = np.zeros((3, 6, 2)), np.full((3, 3, 6), 25.0)
    sums = sums_of(FORM, patients, labels, logits, psnr, np.ones(6, bool))
    assert (sums["scores"].sum((2, 3)) <= 2 * UNIT).all()
    assert (sums["scores"].sum((2, 3)) > 2 * UNIT - 6).all()
    assert sums["counts"].tolist() == [2 * UNIT, 0]


def test_the_form_follows_from_plan_and_task_and_leaves_linkage_and_readers_out() -> None:
    plan = small_plan()
    arms = [arm.name for arm in plan.arms]
    names = ["lmmse", "mean", "zero", "diagnosis", "linkage", "reader"]
    form = form_of(plan, reversed(arms), names)
    assert form.cells == tuple(itertools.product(arms, plan.measurement.accelerations))
    assert form.attacks == ("diagnosis", "lmmse") and form.floors == ("mean", "zero")
