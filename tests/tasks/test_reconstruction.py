"""Reconstruction: trained and audited like the first task, and named as what it is."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.data import open_dataset
from infomri_core.fitting.loop import Stretch
from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.reconstruction.registry import RECONSTRUCTORS, reconstructor_class
from infomri_core.summaries.groups import SLOTS
from infomri_core.summaries.posterior_summary import LIMITS, N_BINS, PARTS, PosteriorSummary
from infomri_core.suppression.registry import build_suppression
from infomri_core.system.errors import InputError
from infomri_core.tasks.reconstruction import Reconstruction
from infomri_core.tasks.task import UNIT
from infomri_core.training.fit import train_steps
from tests.support.small import AUDIT_URI, local_sites, small_table, study

TASK = Reconstruction((32, 32))
ARMS = [{"sampler": name, "beta": "-inf"} for name in ("infomri", "uniform")]
FIGURES = {f"image_{name}" for name in LIMITS}


def plan_of(**sections: Any) -> Plan:
    made = small_table(rounds=1, local_steps=2)
    made["task"] = {"kind": "reconstruction", "shape": [32, 32]}
    return parse_plan(tomli_w.dumps(made | {"arms": ARMS} | sections))


def evidence_of(n: int, seed: int = 0) -> np.ndarray:
    """Evidence of n images and reconstructions of very different quality."""
    generator = torch_generator(seed, "evidence")
    images = torch.rand(n, 32, 32, generator=generator)
    noise = torch.randn(n, 32, 32, generator=generator)
    spread = torch.rand(n, 1, 1, generator=generator) / 2
    log_variance = torch.randn(n, 32, 32, generator=generator) - 3
    output = torch.stack((images + spread * noise, log_variance), dim=1)
    return TASK.evidence(output, images).double().numpy()


@given(st.integers(2, 20), st.randoms())
@settings(max_examples=15, deadline=None)
def test_merged_groups_give_the_means_of_all_images(n: int, chance: Any) -> None:
    evidence = evidence_of(n, chance.randrange(1000))
    slots = np.array([chance.randrange(SLOTS) for _ in range(n)])
    half = n // 2
    parts = [
        TASK.summarise(evidence[rows], slots[rows]) for rows in (slice(half), slice(half, None))
    ]
    merged = parts[0].merge(PosteriorSummary.from_arrays(parts[1].to_arrays()))
    figures = TASK.estimates(merged)
    for place, name in enumerate(LIMITS):
        assert figures[f"image_{name}"].value == pytest.approx(evidence[:, place].mean())
    whole = TASK.estimates(TASK.summarise(evidence, np.zeros(n, np.int64)))
    assert figures["image_ence"].value == pytest.approx(whole["image_ence"].value)


@given(st.integers(1, 12), st.floats(1e-3, 1), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_patient_moves_each_block_by_no_more_than_one(n: int, reach: float, seed: int) -> None:
    mass = np.full(n, UNIT // n)
    reference = np.stack((np.full(len(LIMITS), 0.5), np.full(len(LIMITS), reach)))
    sums = TASK.bounded(evidence_of(n, seed), mass, reference)
    families = TASK.families()
    assert {k: v.shape for k, v in sums.items()} == {k: f.shape for k, f in families.items()}
    for name, part in sums.items():
        blocks = part.reshape(families[name].n_blocks, -1)
        assert (np.linalg.norm(blocks.astype(float), axis=1) <= UNIT).all()


def test_without_noise_and_clipping_both_ways_of_leaving_say_the_same() -> None:
    evidence = evidence_of(200)
    exact = TASK.estimates(TASK.summarise(evidence, np.arange(200) % SLOTS))
    reference = TASK.reference(None)
    sums = TASK.bounded(evidence, np.full(200, UNIT), reference)
    patients = {name: part[None] / UNIT for name, part in sums.items()}
    none = dict.fromkeys(sums, 0.0)
    noised = TASK.noised_estimates(patients, none, 0, (200.0, 0.0), reference)
    assert set(noised) == FIGURES
    for name in FIGURES:
        assert noised[name].value == pytest.approx(exact[name].value, rel=1e-3, abs=1e-3)
    low, high = noised["image_psnr"].low, noised["image_psnr"].high
    assert low < exact["image_psnr"].value < high
    loud = TASK.noised_estimates(patients, dict.fromkeys(sums, 100.0), 0, (200.0, 4.0), reference)
    assert loud["image_psnr"].high - loud["image_psnr"].low > high - low


def test_the_centres_own_patients_say_how_far_figures_reach() -> None:
    evidence = evidence_of(50)
    middle, reach = TASK.reference(evidence)
    assert middle == pytest.approx(evidence[:, : len(LIMITS)].mean(0)) and (reach > 0).all()
    assert TASK.is_reference(np.stack([np.stack((middle, reach))] * 3))
    assert not TASK.is_reference(np.stack((middle, -reach))[None])
    assert TASK.reference(evidence).shape == TASK.reference_shape


def test_evidence_is_finite_whatever_the_network_gives() -> None:
    bad = torch.tensor([math.nan, math.inf, -math.inf, 1e30]).view(4, 1, 1, 1)
    evidence = TASK.evidence(bad.expand(4, 2, 32, 32), torch.rand(4, 32, 32))
    assert torch.isfinite(evidence).all() and evidence.shape == (4, TASK.n_evidence)
    summary = TASK.summarise(evidence.double().numpy(), np.zeros(4, np.int64))
    assert PosteriorSummary.from_arrays(summary.to_arrays()).weight.sum() == 4


@pytest.mark.parametrize(
    "changed",
    [
        {"sums": np.full((1, len(LIMITS)), 99.0)},
        {"bins": np.full((1, N_BINS, PARTS), -1.0)},
        {"weight": np.array([-1])},
        {"weight": np.array([2**50])},
        {"sums": np.zeros((1, 3))},
        {"extra": np.zeros(1)},
    ],
    ids=["sums", "bins", "negative", "huge", "shape", "extra"],
)
def test_what_is_no_summary_is_refused(changed: dict[str, np.ndarray]) -> None:
    arrays = TASK.summarise(evidence_of(1), np.zeros(1, np.int64)).to_arrays()
    whole = {name: array[:1] for name, array in arrays.items()}
    PosteriorSummary.from_arrays(whole)
    with pytest.raises(ValueError):
        PosteriorSummary.from_arrays(whole | changed)


def test_a_flip_turns_image_and_target() -> None:
    images = torch.rand(2, 32, 32)
    flipped, targets = TASK.augment(images, images)
    assert torch.equal(flipped, targets) and torch.equal(flipped.flip(-1), images)


@pytest.mark.parametrize(
    ("sections", "word"),
    [
        ({"arms": [{"sampler": "uniform"}]}, "beta = '-inf'"),
        ({"model": {"reconstructor": "unnet"}}, "unet"),
        ({"model": {"input": "whitened"}}, "as it was measured"),
        ({"task": {"kind": "reconstruction", "shape": [16, 16]}}, "32 each at least"),
        (
            {
                "model": {"reconstructor": "hqs"},
                "privacy": {"noise_multiplier": 1.0, "rate": 0.3, "lot": 4},
            },
            "sample by sample",
        ),
    ],
    ids=["beta", "name", "whitened", "small", "private"],
)
def test_a_plan_says_what_is_wrong_with_it(sections: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match="expected") as refusal:
        plan_of(**sections)
    assert word in str(refusal.value)


def test_another_task_has_no_reconstructor() -> None:
    table_ = small_table() | {"model": {"width": 4, "reconstructor": "unet"}}
    with pytest.raises(InputError, match="rebuilds no image"):
        parse_plan(tomli_w.dumps(table_))


@pytest.mark.parametrize("name", list(RECONSTRUCTORS))
def test_every_reconstructor_learns_with_its_sampler(name: str) -> None:
    training = {"rounds": 1, "local_steps": 9, "batch_size": 4, "learning_rate": 3e-3}
    one_ratio = {"ratio_range": [0.25, 0.25], "accelerations": [4.0]}
    model_ = {"width": 4, "reconstructor": name}
    learned = not reconstructor_class(name).self_supervised
    arms = ARMS if learned else ARMS[1:]
    plan = plan_of(model=model_, training=training, measurement=one_ratio, arms=arms)
    images = open_dataset(AUDIT_URI).images(np.arange(4))
    variance = KSpaceMoments.from_kspace(fft2c(images)).variance.float()
    model = build_model(plan, plan.arms[0], variance)
    penalty = build_suppression("none", variance, None, 0.02)
    start = flatten(model.sampler)

    # On measurements that do not change: a mask that misses the centre outweighs nine steps.
    fixed = model.acquire(images, 0.25, torch.Generator().manual_seed(1))

    def nll() -> float:
        with torch.no_grad():
            drawn = model.draw_for(images, torch.Generator())
            output = model.training_output(fixed.y, fixed.mask, images, images, drawn)
            return float(model.task.mean_losses(output, images)["nll"])

    before = nll()
    given = (model, plan, plan.arms[0].beta, penalty, 4, lambda rows: (images, images))
    train_steps(*given, Stretch(0, 9, 9, (5, "learn", 1)))
    assert nll() < before and (not learned or (flatten(model.sampler) != start).any())


def test_exact_scores_leave_in_groups_with_intervals(tmp_path: Path) -> None:
    plan = plan_of(evaluation={"attacks": ["lmmse"], "attack_slices": 1, "noise": False})
    rows = study(plan, local_sites(tmp_path), tmp_path).run()
    assert rows and all({*FIGURES, "image_ence"} <= set(row.figures) for row in rows)
    assert all(row.utility.n_groups and not row.legibility for row in rows)
