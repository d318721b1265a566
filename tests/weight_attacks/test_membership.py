"""Laws of membership inference: rates with few samples, RMIA and LiRA, and the simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infomri_core.data import open_dataset
from infomri_core.weight_attacks import membership
from infomri_core.weight_attacks.membership import N_CONTROL, audit_membership, lira, rmia
from infomri_core.weight_attacks.roc import auc, separation, tpr_at
from tests.support.small import AUDIT_URI, small_plan


@given(st.integers(0, 99), st.integers(1, 15), st.integers(1, 15))
def test_auc_counts_every_pair(seed: int, n: int, m: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, 5, n), generator.integers(0, 5, m)
    pairs = (a[:, None] > b[None, :]) + (a[:, None] == b[None, :]) / 2
    assert auc(a, b) == pytest.approx(pairs.mean())


@given(st.integers(0, 99), st.integers(100, 400))
def test_the_threshold_never_lets_more_non_members_through_than_allowed(seed: int, m: int) -> None:
    generator = np.random.default_rng(seed)
    others = generator.integers(0, 50, m).astype(float)
    rate = tpr_at(0.01, others, others)
    assert rate is not None
    assert rate.value <= 0.01
    assert rate.low <= rate.value <= rate.high


def test_a_rate_below_one_over_the_non_members_is_undefined_and_says_so() -> None:
    members, others = np.arange(50.0), np.arange(999.0)
    assert tpr_at(0.001, members, others) is None
    assert tpr_at(0.001, members, np.arange(1000.0)) is not None
    report = separation(members, others)
    assert report["tpr_at_0.1_percent_fpr"] is None
    assert "1000 non-members, there are 999" in report["tpr_at_0.1_percent_fpr_note"]
    assert report["tpr_at_1_percent_fpr"] is not None
    assert auc(members, others[:0]) is None


def test_a_target_that_remembers_nothing_gives_rmia_and_lira_nothing() -> None:
    generator = np.random.default_rng(0)
    hardness = -generator.exponential(size=600)
    noisy = [np.minimum(hardness + 0.1 * generator.normal(size=600), -1e-6) for _ in range(4)]
    scores = {
        "rmia": rmia(noisy[0], noisy[1], noisy[0][300:], noisy[1][300:]),
        "lira": lira(noisy[0], np.stack(noisy[1:])),
    }
    for values in scores.values():
        assert abs(auc(values[:300], values[300:]) - 0.5) < 0.08


def test_references_see_through_what_is_hard_for_everyone() -> None:
    generator = np.random.default_rng(1)
    hardness = -generator.exponential(size=600) - 0.5
    target = hardness.copy()
    target[:300] *= 0.7
    references = np.stack([hardness * generator.uniform(0.95, 1.05, 600) for _ in range(4)])
    plain = auc(target[:300], target[300:])
    for scores in (
        rmia(target, references[0], target[300:], references[0][300:]),
        lira(target, references),
    ):
        assert auc(scores[:300], scores[300:]) > plain + 0.1


def test_a_patient_s_slices_do_not_judge_each_other() -> None:
    x = np.array([-0.1, -0.2])
    own = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(rmia(x, x * 0, x, x * 0, own), [1, 0])


@pytest.fixture(scope="module")
def audited() -> dict:
    data = open_dataset("phantom:?patients=40&slices=2&size=32&seed=9&hospital=centre")
    images = data.images(np.arange(len(data)))
    labels = torch.from_numpy(data.table.labels.astype(np.float32))
    plan = small_plan()
    uniform = next(arm for arm in plan.arms if arm.sampler == "uniform")
    variance = torch.ones(2, 32, 32)
    return audit_membership(
        plan, uniform, images, labels, data.table.patients, variance, 3, 6, n_references=2
    )


def test_the_simulation_is_whole(audited: dict) -> None:
    assert (audited["members"], audited["non_members"], audited["references"]) == (40, 20, 2)
    for attack in ("rmia", "lira"):
        assert 0 <= audited[attack]["auc"] <= 1
        assert audited[attack]["tpr_at_1_percent_fpr"] is None
    assert audited["control"]["members"] == N_CONTROL and not audited["dp"]


def test_a_net_that_knows_its_slices_by_heart_gives_them_away(audited: dict) -> None:
    assert audited["control"]["rmia"]["auc"] > 0.8


def test_the_same_seed_gives_the_same_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "CONTROL_STEPS", 2)
    data = open_dataset(AUDIT_URI)
    images = data.images(np.arange(len(data)))
    labels = torch.from_numpy(data.table.labels.astype(np.float32))
    plan = small_plan()
    shared = (plan, plan.arms[1], images, labels, data.table.patients, torch.ones(2, 32, 32), 3, 2)
    assert audit_membership(*shared) == audit_membership(*shared)


def test_too_few_patients_are_said() -> None:
    plan = small_plan()
    report = audit_membership(
        *(plan, plan.arms[0], torch.zeros(3, 32, 32), torch.zeros(3, 1)),
        *(np.arange(3), torch.ones(2, 32, 32), 0, 1),
    )
    assert "needs 4 patients" in report["note"]
