"""Laws of training without images: what is held out is all that is asked, and never seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from torch import Tensor

from infomri_core.arms.build import build_model
from infomri_core.data import open_dataset
from infomri_core.physics.calibration import negative_log_likelihood
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, zero_fill
from infomri_core.plan.plan import Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.reconstruction.base import HeldOut
from infomri_core.reconstruction.self_supervised import (
    HELD_OUT,
    SelfSupervised,
    blurred,
    chances,
    held_out,
)
from infomri_core.suppression.registry import build_suppression
from infomri_core.system.errors import InputError
from tests.support.small import AUDIT_URI, local_sites, small_table, study

SHAPE = (33, 40)
ARMS = [{"sampler": "variable-density", "beta": "-inf"}]


def network() -> SelfSupervised:
    torch.manual_seed(0)
    made = SelfSupervised(SHAPE, 4)
    for parameter in made.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return made


def scans(n: int = 3, ratio: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """k-space of images (n, H, W), masks, and numbers to draw by."""
    generator = torch.Generator().manual_seed(seed)
    kspace = fft2c(torch.rand(n, *SHAPE, generator=generator))
    masks = (torch.rand(n, *SHAPE, generator=generator) < ratio).float()
    return kspace, masks, torch.randn(n, SHAPE[0] * SHAPE[1], generator=generator)


def plan_of(**sections: Any) -> Plan:
    table = small_table(rounds=1, local_steps=2) | {"arms": ARMS}
    table["task"] = {"kind": "reconstruction", "shape": [32, 32]}
    table["model"] = {"width": 4, "reconstructor": "self-supervised"}
    return parse_plan(tomli_w.dumps(table | sections))


def gradients(kspace: Tensor, masks: Tensor, drawn: Tensor, images: Tensor) -> list[Tensor]:
    """Of the network's parameters, by the task's own losses."""
    task, made = plan_of().task, network()
    output = task.training_output(made, masks * kspace, masks, images, images, drawn)
    loss = task.mean_losses(output, images)["nll"]
    return list(torch.autograd.grad(loss, list(made.parameters())))


def test_no_image_and_no_unmeasured_point_has_a_part_in_the_gradient() -> None:
    kspace, masks, drawn = scans()
    elsewhere = torch.where(masks > 0, kspace, 7 * scans(seed=9)[0])
    nothing = torch.full((3, *SHAPE), torch.nan)
    known = gradients(kspace, masks, drawn, zero_fill(kspace).real)
    blind = gradients(elsewhere, masks, drawn, nothing)
    assert all(torch.equal(a, b) for a, b in zip(known, blind, strict=True))
    assert any(float(g.abs().max()) > 0 for g in blind)


def test_points_are_held_out_as_often_as_their_chance_says() -> None:
    n = 400
    _, masks, drawn = scans(n)
    held = held_out(masks, drawn.view_as(masks))
    assert set(held.unique().tolist()) == {0.0, 1.0} and bool((held <= masks).all())
    wanted = float((masks * chances(masks)).sum())
    assert abs(float(held.sum()) - wanted) <= 5 * (0.25 * float(masks.sum())) ** 0.5
    assert wanted / float(masks.sum()) == pytest.approx(HELD_OUT, abs=0.02)


def test_points_are_held_out_where_others_are_missing() -> None:
    """In proportion to (1 - p) / p: p x chance, the density of what is held out, is that of what
    was not measured."""
    masks = torch.zeros(1, *SHAPE)
    masks[:, 10:23, 10:31] = 1
    masks[:, ::2, :8] = 1
    masks[:, ::2, -8:] = 1
    found = chances(masks)[0]
    assert not bool(found[13:20, 13:28].any()) and float(found[14, 4]) > 0.3
    everything = torch.ones(1, *SHAPE)
    assert not bool(held_out(everything, torch.zeros_like(everything)).any())


def test_the_network_sees_nothing_of_what_is_held_out() -> None:
    kspace, masks, drawn = scans()
    made = network()
    held = held_out(masks, drawn.view_as(masks))
    one, two = (
        made.training_output(masks * k, masks, drawn)
        for k in (kspace, torch.where(held > 0, 3 * kspace, kspace))
    )
    assert isinstance(one, HeldOut) and isinstance(two, HeldOut)
    assert torch.equal(one.variance, two.variance)
    assert not torch.equal(one.error, two.error)
    # The error moves by exactly what was added: the guess is the same.
    share = held.mean((-2, -1), keepdim=True)
    assert torch.allclose(
        two.error - one.error, zero_fill(held * 2 * kspace) / share.sqrt(), atol=1e-5
    )


def test_with_every_point_held_out_the_loss_is_that_of_the_image() -> None:
    generator = torch.Generator().manual_seed(2)
    mean, image = torch.rand(2, 3, *SHAPE, generator=generator)
    log_variance = torch.randn(3, *SHAPE, generator=generator) - 3
    everything = torch.ones(3, *SHAPE)
    error = zero_fill(fft2c(image - mean))
    found = HeldOut(error, blurred(log_variance.exp(), everything)).loss()
    assert torch.allclose(found, negative_log_likelihood(mean, log_variance, image), rtol=1e-4)


def test_the_expected_error_is_that_of_errors_of_the_predicted_variance() -> None:
    n = 4000
    generator = torch.Generator().manual_seed(3)
    _, masks, _ = scans(1, 0.4)
    variance = torch.rand(1, *SHAPE, generator=generator) ** 4
    errors = variance.sqrt() * torch.randn(n, *SHAPE, generator=generator)
    seen = zero_fill(masks * fft2c(errors)).abs().square()
    expected = blurred(variance, masks)
    # A square of a complex normal number has at most twice its mean as deviation: ten of them.
    assert bool(((seen.mean(0) - expected[0]).abs() <= 10 * 2**0.5 * expected[0] / n**0.5).all())


def test_measured_points_keep_their_values() -> None:
    """On masks that have both of each pair: the mean is real, and would share one's value."""
    kspace, _, _ = scans()
    rows = torch.zeros(3, *SHAPE)
    rows[:, 10:23] = 1  # Of 33 rows about the zero frequency, with each point its partner.
    mean = network()(rows * kspace, rows)[:, 0]
    assert torch.allclose(fft2c(mean) * rows, kspace * rows, atol=1e-5)


def test_a_slice_without_a_point_to_hold_out_changes_nothing() -> None:
    kspace, masks, drawn = scans()
    masks[:] = 1
    found = gradients(kspace, masks, drawn, kspace.real)
    assert all(bool(torch.isfinite(g).all()) and not bool(g.any()) for g in found)


@pytest.mark.parametrize("sampler", ["infomri", "seqmri"])
def test_a_sampler_that_learns_is_refused(sampler: str) -> None:
    """Its gradient at an unmeasured point is what would have been measured there."""
    with pytest.raises(InputError, match="from points that were not measured"):
        plan_of(arms=[{"sampler": sampler, "beta": "-inf"}])


@pytest.mark.parametrize("privacy", [None, {"noise_multiplier": 1.0, "rate": 0.3, "lot": 4}])
def test_hospitals_train_it_together(tmp_path: Path, privacy: Any) -> None:
    more = {} if privacy is None else {"privacy": privacy}
    plan = plan_of(evaluation={"attacks": ["lmmse"], "attack_slices": 1}, **more)
    (row, *_) = study(plan, local_sites(tmp_path), tmp_path).run()
    assert row.utility.value > 5


def test_it_learns_the_image_it_never_sees() -> None:
    images = open_dataset(AUDIT_URI).images(np.arange(24))
    plan = plan_of()
    model = build_model(plan, plan.arms[0])
    variance = torch.ones(2, 32, 32)
    penalty = build_suppression("none", variance, None, 0.02)
    generator = torch.Generator().manual_seed(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def quality() -> float:
        with torch.no_grad():
            found = model.acquire(images, 0.25, torch.Generator().manual_seed(5))
            mean = model.output(found.y, found.mask)[:, 0].clamp(0, 1)
        return float(psnr(mean, images).mean())

    before = quality()
    for _ in range(60):
        optimizer.zero_grad()
        unseen = torch.full_like(images, torch.nan)
        model.loss(images, unseen, 0.25, penalty, generator).total(plan.arms[0].beta).backward()
        optimizer.step()
    assert quality() > before + 0.2
