"""Segmentation: laws of what scores it, and a study from enrolment to the report."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.arms.build import build_model
from infomri_core.data import open_dataset
from infomri_core.data.base import ABSENT
from infomri_core.data.phantom.ambiguous import AmbiguousPhantom
from infomri_core.data.phantom.dataset import open_phantom
from infomri_core.data.uri import parse_uri
from infomri_core.dp.dp import add_clipped
from infomri_core.models.settings import Model
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.site.site import open_site
from infomri_core.summaries.groups import SLOTS
from infomri_core.summaries.overlap import BANDS, COLUMNS, N_BINS, OverlapSummary
from infomri_core.system.errors import InputError, Refused
from infomri_core.tasks.outlining.scores import N_EVIDENCE, drawn_rater, parts
from infomri_core.tasks.segmentation import Segmentation
from infomri_core.tasks.task import UNIT

TASK = Segmentation((32, 32), ("disc",), samples=4)
DISCS = "phantom:?ambiguous=1&size=32&slices=2&patients={}&seed={}&hospital={}&raters={}"


def plan_of(**sections: Any) -> Plan:
    made: dict[str, Any] = {
        "study": {"name": "outlines", "seed": 5},
        "task": {
            "kind": "segmentation",
            "outlines": ["disc"],
            "shape": [32, 32],
            "samples": 4,
        },
        "measurement": {"ratio_range": [0.1, 0.3], "accelerations": [4.0, 8.0]},
        "model": {"width": 8},
        "training": {"rounds": 1, "local_steps": 2, "batch_size": 4, "flips": True},
        "evaluation": {"attacks": ["lmmse"], "attack_slices": 1, "epsilon": 1000.0},
        "arms": [
            {"sampler": "infomri", "suppression": "marginal", "beta": 1e-3},
            {"sampler": "uniform"},
        ],
    }
    return parse_plan(tomli_w.dumps(made | sections))


def discs(n_patients: int = 20, seed: int = 1, raters: int = 3) -> AmbiguousPhantom:
    found, _ = open_phantom(parse_uri(DISCS.format(n_patients, seed, "centre", raters)))
    assert isinstance(found, AmbiguousPhantom)
    return found


def certain(drawn: torch.Tensor) -> torch.Tensor:
    """Logits (B, S, 1, H, W) of a model that is sure of the outlines ``drawn`` (B, S, H, W)."""
    return (20.0 * (2.0 * drawn.float() - 1))[:, :, None]


@cache
def of_perfect_model(n_samples: int, n_raters: int) -> tuple[np.ndarray, float]:
    data = discs(60, raters=n_raters)
    rows = np.arange(len(data))
    levels = np.random.default_rng(7).uniform(size=(len(rows), n_samples))
    evidence = TASK.evidence(certain(data.outlined(rows, levels)), TASK.targets(data, rows))
    return evidence.double().numpy(), float(data.spread(rows).mean())


@pytest.mark.parametrize(("n", "r"), [(3, 2), (8, 3)])
def test_of_a_perfect_model_ged_is_zero_and_the_published_one_its_bias(n: int, r: int) -> None:
    evidence, spread = of_perfect_model(n, r)
    figures = TASK.estimates(TASK.summarise(evidence, np.arange(len(evidence)) % SLOTS))
    interval = figures["agreement"]
    assert interval.value is not None and interval.low is not None
    error = (interval.value - interval.low) / 2
    assert abs(interval.value - 1) < 4 * error < 0.2
    expected = spread * (1 / n + 1 / r)
    assert figures["ged_v"].value == pytest.approx(expected, abs=4 * error)
    for name in ("sample_spread", "rater_spread"):
        assert figures[name].value == pytest.approx(spread, abs=0.04)
    assert -1e-6 < figures["ged_floor"].value <= figures["ged_fixed"].value + 0.02


def test_of_hard_predictions_the_calibration_error_is_the_brier_score() -> None:
    data = discs()
    rows = np.arange(len(data))
    drawn = data.outlined(rows, np.full((len(rows), 1), 0.3))
    evidence = TASK.evidence(certain(drawn.repeat(1, 2, 1, 1)), TASK.targets(data, rows))
    figures = TASK.estimates(TASK.summarise(evidence.double().numpy(), rows % SLOTS))
    assert figures["ece"].value == pytest.approx(figures["brier"].value, abs=1e-5)
    assert 0 < figures["ece"].value < 0.2


def test_distances_are_those_of_the_masks_one_by_one() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 4, 3, 16, 16), torch.randint(0, 3, (3, 3, 16, 16)).byte()
    labels[1, 2], labels[2] = ABSENT, ABSENT
    task = Segmentation((16, 16), ("one", "two"), samples=4)
    columns = dict(zip(COLUMNS, parts(task.evidence(logits, labels).double().numpy())[1].T))
    drawn = logits.argmax(2)

    def distance(first: torch.Tensor, second: torch.Tensor) -> float:
        each = [
            1 - ((first == k) & (second == k)).sum() / ((first == k) | (second == k)).sum()
            for k in (1, 2)
        ]
        return float(torch.stack(each).mean())

    for row, raters in ((0, (0, 1, 2)), (1, (0, 1))):
        a = [distance(drawn[row, s], labels[row, r]) for s in range(4) for r in raters]
        b = [distance(drawn[row, s], drawn[row, t]) for s in range(4) for t in range(s)]
        c = [distance(labels[row, s], labels[row, t]) for s in raters for t in raters if t < s]
        for name, found in (("a", a), ("b", b), ("c", c)):
            assert columns[name][row] == pytest.approx(np.mean(found), abs=1e-5)
        assert columns["b_of_n"][row] == pytest.approx(np.mean(b) * 3 / 4, abs=1e-5)
    assert not any(values[2] for values in columns.values())


def test_merged_groups_give_the_figures_of_all_slices() -> None:
    evidence, _ = of_perfect_model(3, 2)
    slots = np.arange(len(evidence)) % SLOTS
    whole = TASK.estimates(TASK.summarise(evidence, slots))
    half = [TASK.summarise(evidence[i::2], slots[i::2]) for i in range(2)]
    merged = half[0].merge(OverlapSummary.from_arrays(half[1].to_arrays()))
    for name, figure in TASK.estimates(merged).items():
        assert figure.value == pytest.approx(whole[name].value, abs=1e-9)
    assert TASK.difference(half[0], half[0]).value == 0
    broken = {**merged.to_arrays(), "overlap": merged.overlap + 1e3}
    with pytest.raises(ValueError, match="overlap"):
        OverlapSummary.from_arrays(broken)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(1e-3, 2))
@settings(max_examples=50, deadline=None)
def test_a_patient_moves_each_block_by_no_more_than_one(seed: int, n: int, reach: float) -> None:
    evidence = np.random.default_rng(seed).integers(0, 2, (n, N_EVIDENCE)).astype(float)
    mass = np.full(n, UNIT // n)
    sums = TASK.bounded(evidence, mass, np.array([[0.3, reach], [0.5, reach]]))
    for name, family in TASK.families().items():
        assert sums[name].shape == family.shape
        blocks = sums[name].reshape(family.n_blocks, -1)
        assert (np.linalg.norm(blocks, axis=1) <= UNIT).all()


def test_without_noise_and_clipping_both_ways_of_leaving_say_the_same() -> None:
    evidence, _ = of_perfect_model(8, 3)
    n = len(evidence)
    exact = TASK.estimates(TASK.summarise(evidence, np.arange(n) % SLOTS))
    reference = np.array([[1.0, 3.0], [0.5, 1.0]])
    sums = TASK.bounded(evidence, np.full(n, UNIT), reference)
    patients = {name: part[None] / UNIT for name, part in sums.items()}
    none = dict.fromkeys(sums, 0.0)
    noised = TASK.noised_estimates(patients, none, 0, (float(n), 0.0), reference)
    for name in ("agreement", "dsc", "ece", "brier"):
        assert noised[name].value == pytest.approx(exact[name].value, abs=1e-4)
    some = none | {"bins": 100.0, "brier": 100.0}
    told = TASK.noised_estimates(patients, some, 0, (float(n), 0.0), reference)
    assert set(told) == {"agreement", "dsc"}
    loud = dict.fromkeys(sums, 1e6)
    assert TASK.noised_estimates(patients, loud, 0, (float(n), 0.0), reference) == {}
    assert TASK.is_reference(TASK.reference(evidence)[None])


def test_evidence_is_finite_whatever_the_network_gives() -> None:
    logits = torch.full((2, 4, 1, 32, 32), float("nan"))
    logits[1] = float("inf")
    found = TASK.evidence(logits, torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert torch.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
    assert torch.isfinite(TASK.disclosed(logits)).all()
    assert TASK.disclosed(logits).shape == (2, TASK.n_answers)
    nobody = TASK.evidence(torch.zeros(2, 4, 1, 32, 32), TASK.no_targets(2))
    assert not nobody.any() and nobody.shape == (2, 1 + len(COLUMNS) + len(BANDS) * N_BINS * 3)


def test_each_step_learns_from_a_rater_who_looked() -> None:
    targets = torch.stack([torch.full((4, 4), v) for v in (1, ABSENT, 2)])[None].byte()
    levels = torch.randn(400)
    chosen = drawn_rater(targets.expand(400, -1, -1, -1), levels)[:, 0, 0]
    assert set(chosen.tolist()) == {1, 2} and 120 < int((chosen == 1).sum()) < 280
    assert (drawn_rater(torch.full((2, 3, 4, 4), ABSENT).byte(), torch.zeros(2)) == ABSENT).all()


def test_a_slice_without_a_target_teaches_nothing() -> None:
    data, task = discs(), TASK
    targets, images = task.targets(data, np.arange(2)), data.images(np.arange(2))
    targets[1] = ABSENT
    network = task.network(Model(width=8))
    drawn = torch.randn(2, task.n_drawn(network))
    output = task.training_output(network, fft2c(images), images, images, targets, drawn)
    losses = task.losses(output, targets)
    assert losses["nll"][0] > 0 and losses["kl"][0] > 0
    assert not losses["nll"][1] and not losses["kl"][1]


def test_flips_turn_images_and_targets() -> None:
    data = discs()
    images, targets = data.images(np.arange(2)), TASK.targets(data, np.arange(2))
    flipped = TASK.augment(images, targets)
    assert torch.equal(flipped[0].flip(-1), images)
    assert torch.equal(flipped[1].flip(-1), targets)


def test_below_zero_an_arm_learns_the_image_too_and_is_deployed_without() -> None:
    plan = plan_of(arms=[{"sampler": "uniform", "beta": -1.0}, {"sampler": "uniform", "seed": 1}])
    below, zero = (build_model(plan, arm) for arm in plan.arms)
    assert len(list(below.network.parameters())) > len(list(zero.network.parameters()))
    data = discs()
    images, targets = data.images(np.arange(3)), TASK.targets(data, np.arange(3))
    masks = torch.ones_like(images)
    y = below.measure(images, masks, torch.Generator().manual_seed(0))
    drawn = below.draw_for(images, torch.Generator().manual_seed(1))
    losses = plan.task.losses(below.training_output(y, masks, images, targets, drawn), targets)
    assert losses["image"].abs().min() > 0
    expected = losses["nll"] + losses["kl"] + 2 * losses["image"]
    torch.testing.assert_close(plan.task.objective(losses, -2.0), expected)
    before = below.output(y, masks)
    plan.task.deployed(below.network)
    torch.testing.assert_close(below.output(y, masks), before)
    assert len(list(below.network.parameters())) < len(list(zero.network.parameters()))


def test_clipped_gradients_are_each_samples_own() -> None:
    plan = plan_of(arms=[{"sampler": "uniform"}])
    model = build_model(plan, plan.arms[0])
    data = discs()
    images, targets = data.images(np.arange(3)), TASK.targets(data, np.arange(3))
    masks = torch.ones_like(images)
    y = model.measure(images, masks, torch.Generator().manual_seed(0))
    drawn = model.draw_for(images, torch.Generator().manual_seed(1))
    parameters = list(model.network.parameters())

    def clipped(rows: slice, clip: float) -> list[torch.Tensor]:
        total = {p: torch.zeros_like(p, dtype=torch.float64) for p in parameters}
        given = (masks[rows], y[rows], targets[rows], 0.0, clip, total)
        add_clipped(model, masks[0], [], *given, images[rows], drawn[rows])
        return [total[p] for p in parameters]

    def norm(parts: list[torch.Tensor]) -> float:
        return float(torch.stack([p.square().sum() for p in parts]).sum().sqrt())

    whole = clipped(slice(None), 1.0)
    each = [clipped(slice(i, i + 1), 1.0) for i in range(3)]
    for part, parts_ in zip(whole, zip(*each)):
        torch.testing.assert_close(part, sum(parts_), rtol=1e-3, atol=1e-5)
    assert all(norm(parts_) == pytest.approx(1.0, abs=1e-3) for parts_ in each)
    output = model.training_output(y[:1], masks[:1], images[:1], targets[:1], drawn[:1])
    losses = plan.task.losses(output, targets[:1])
    plain = torch.autograd.grad(plan.task.objective(losses, 0.0).sum(), parameters)
    length = norm([g.double() for g in plain])
    for gradient, part in zip(plain, each[0]):
        torch.testing.assert_close(gradient.double() / length, part, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("section", "values", "word"),
    [
        ("task", {"outlines": []}, "1 .. 16"),
        ("task", {"outlines": ["disc", "disc"]}, "distinct"),
        ("task", {"kl_weight": 0.0}, "kl_weight"),
        ("task", {"samples": 1}, "samples"),
        ("model", {"width": 12}, "8, 16, 32"),
        ("model", {"norm": "batch"}, "group"),
    ],
)
def test_a_plan_says_what_is_wrong_with_it(section: str, values: dict, word: str) -> None:
    task = {"kind": "segmentation", "outlines": ["disc"], "shape": [32, 32]}
    with pytest.raises(InputError, match=word):
        plan_of(**{section: (task if section == "task" else {"width": 8}) | values})


def test_a_site_without_the_outlines_refuses(tmp_path: Path) -> None:
    site = open_site(open_dataset("phantom:?size=32&patients=6"), "a", tmp_path, "cpu")
    with pytest.raises(Refused, match="outlines disc"):
        site.enrol(plan_of())
    found = replace(TASK, outlines=("tear", "oedema"))
    labels = found.targets(open_dataset("phantom:?size=32&patients=6&seed=2"), np.arange(24))
    assert labels.shape == (24, 1, 32, 32) and set(labels.unique().tolist()) <= {0, 1, 2}
