"""A trained arm at work: chosen without doubt, restored exactly, averaged honestly."""

import numpy as np
import pytest
import torch

from infomri_core.arms.build import build_model
from infomri_core.arms.weights import flatten
from infomri_core.inference.inference import (
    ArmQuery,
    choose_arm,
    diagnose_images,
    restore,
    sampling_ratio,
)
from infomri_core.system.errors import InputError
from tests.support.trained_runs import DROPPED, SHAPE, make_plan


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (ArmQuery(beta=0.0), "infomri-s0"),
        (ArmQuery(beta=0.0, sampler="uniform"), "uniform-s0"),
        (ArmQuery(beta=1e-3, seed=0), "infomri-marginal-b0.001-s0"),
        (ArmQuery(sampler="variable-density"), "variable-density-e4-s0"),
        (ArmQuery(name="uniform-s0", beta=0.0), "uniform-s0"),
        (ArmQuery(name="InfoMRI beta=1e-3, seed 0"), "infomri-marginal-b0.001-s0"),
        (ArmQuery(name="infomri β=0"), "infomri-s0"),
    ],
)
def test_an_arm_is_chosen_by_what_sets_it_apart(query: ArmQuery, name: str):
    plan = make_plan()
    assert choose_arm(plan, query, [arm.name for arm in plan.arms]).name == name


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (ArmQuery(), "no choice, which fits"),
        (ArmQuery(beta=1e-3), "which fits infomri-marginal-b0.001-s0, infomri-marginal-b0.001-s1"),
        (ArmQuery(beta=0.5), "got beta 0.5; the arms are infomri-s0"),
        (ArmQuery(name="unifrom-s0"), "did you mean 'uniform-s0'"),
        (ArmQuery(name="uniform-s0", beta=0.5), "got uniform-s0, beta 0.5"),
        (ArmQuery(seed=1), "diverged at north"),
    ],
)
def test_no_arm_or_several_is_an_error_that_lists_them(query: ArmQuery, expected: str):
    plan = make_plan()
    trained = [arm.name for arm in plan.arms if arm.name != DROPPED]
    with pytest.raises(InputError) as caught:
        choose_arm(plan, query, trained, {DROPPED: "diverged at north"})
    assert expected in str(caught.value)
    assert "uniform-s0" in str(caught.value)


@pytest.mark.parametrize("acceleration", [1.9, 20.5, 0.0, -4.0, float("nan"), float("inf")])
def test_an_acceleration_the_plan_does_not_serve_is_refused(acceleration: float):
    with pytest.raises(InputError, match="between 2 and 20"):
        sampling_ratio(make_plan(), acceleration)


def test_restored_weights_are_those_saved_and_take_no_gradient():
    plan = make_plan()
    flat = flatten(build_model(plan, plan.arms[0])) + 0.25
    model = restore(plan, plan.arms[0], flat)
    np.testing.assert_array_equal(flatten(model), flat)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(InputError, match="NaN"):
        restore(plan, plan.arms[0], np.full_like(flat, np.nan))


def test_the_mean_over_draws_is_the_mean_of_single_draws():
    plan = make_plan()
    model = build_model(plan, plan.arm("uniform-s0")).eval()
    images = torch.rand(3, *SHAPE)
    several = diagnose_images(model, images, 0.25, torch.Generator().manual_seed(1), 3)
    generator = torch.Generator().manual_seed(1)
    single = np.stack([diagnose_images(model, images, 0.25, generator).mean for _ in range(3)])
    np.testing.assert_allclose(several.mean, single.mean(0), atol=1e-12)
    np.testing.assert_allclose(several.spread, single.std(0, ddof=1), atol=1e-12)
