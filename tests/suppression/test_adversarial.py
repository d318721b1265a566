"""A U-Net in the loop: it learns, the mask moves away from what it uses, and it stays at home."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from infomri_core.data import open_dataset
from infomri_core.dp.dp import PrivateGradients
from infomri_core.messages import TrainReply, TrainTask
from infomri_core.physics.kspace import complex_noise, fft2c
from infomri_core.plan.plan import Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.results.trained_against import weaker_judge
from infomri_core.sampling.masks import draw_masks
from infomri_core.site.site import Site
from infomri_core.suppression.adversarial import KEY, MOST_IMAGES, AdversarialQuality
from infomri_core.system.errors import InputError
from infomri_core.training.optimizer_store import OptimizerStore
from tests.support.rows import row_of
from tests.support.small import site_uri
from tests.suppression.test_suppressed_training import PRIVACY, first_task, plan_of

SHAPE, NOISE, RATIO = (16, 16), 0.02, 0.5
ARM = {"sampler": "infomri", "suppression": "adversarial"}


def batch(seed: int, n: int = 8) -> torch.Tensor:
    """Images of a mean and of two patterns: one of low frequency, one of higher."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(16) * 2 * torch.pi / 16
    patterns = torch.stack((x.cos().expand(16, 16), (3 * x).cos()[:, None].expand(16, 16)))
    weights = torch.randn(n, 2, generator=generator) * torch.tensor([0.1, 0.03])
    return 0.5 + torch.einsum("np,phw->nhw", weights, patterns)


def measured(images: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Measurement and masks, of which the first is differentiable in the second."""
    generator = torch.Generator().manual_seed(seed)
    masks = draw_masks(torch.full(SHAPE, RATIO), len(images), generator=generator)
    masks = masks.detach().requires_grad_()
    kspace = fft2c(images)
    return masks * (kspace + complex_noise(kspace, NOISE, generator)), masks


def trained_attacker(n_steps: int) -> tuple[AdversarialQuality, list[float]]:
    """The attacker, and by how many dB it beat the mean image in each of its steps."""
    penalty = AdversarialQuality(torch.ones(2, *SHAPE), NOISE)
    gains = []
    for step in range(n_steps):
        images = batch(step)
        figure = float(penalty.of(images, *measured(images, step)).detach())
        gains.append(figure + 10 * np.log10(float((images - 0.5).square().mean())))
    return penalty, gains


def test_the_attacker_learns_beside_the_arm() -> None:
    _, gains = trained_attacker(200)
    assert np.mean(gains[:5]) < 0 and np.mean(gains[-20:]) > 2


def test_the_mask_moves_away_from_what_the_attacker_uses() -> None:
    """The slope is largest, and is a gain in dB, where images differ most and nowhere else, and a
    step down it lowers what the attacker rebuilds."""
    penalty, _ = trained_attacker(200)
    slopes, found = torch.zeros(SHAPE), []
    for seed in range(300, 330):
        images = batch(seed, MOST_IMAGES)
        y, masks = measured(images, seed)
        (slope,) = torch.autograd.grad(penalty.quality(images, y, masks), masks)
        slopes += slope.mean(0)
        for place in ((8, 9), (8, 7)):
            with_it = masks.detach().clone()
            with_it[:, *place] = 1.0
            without = with_it.clone()
            without[:, *place] = 0.0
            k = fft2c(images)
            more, less = (
                float(penalty.quality(images, m * k, m).detach()) for m in (with_it, without)
            )
            found.append(more - less)
    assert np.mean(found) > 0
    largest = slopes.flatten().topk(2).indices.tolist()
    assert sorted(largest) == [8 * 16 + 7, 8 * 16 + 9]
    assert slopes[8, 9] > 0 and slopes[8, 7] > 0


def test_the_value_is_the_attackers_and_its_gradient_reaches_the_masks_looked_at() -> None:
    penalty, _ = trained_attacker(20)
    images = batch(99, MOST_IMAGES + 2)
    y, masks = measured(images, 99)
    few = (part[:MOST_IMAGES] for part in (images, y, masks))
    expected = penalty.quality(*few)
    (slope,) = torch.autograd.grad(expected, masks, retain_graph=True)
    value = penalty.of(images, y, masks)
    (found,) = torch.autograd.grad(value, masks)
    torch.testing.assert_close(value.detach(), expected.detach())
    torch.testing.assert_close(found, slope)
    assert found[:MOST_IMAGES].any() and not found[MOST_IMAGES:].any()


def test_an_attacker_that_is_kept_goes_on_as_if_nothing_had_happened() -> None:
    whole, _ = trained_attacker(12)
    half, _ = trained_attacker(6)
    again = AdversarialQuality(torch.ones(2, *SHAPE), NOISE)
    again.resume(half.kept())
    for step in range(6, 12):
        images = batch(step)
        again.of(images, *measured(images, step))
    for name, array in whole.kept().items():
        np.testing.assert_array_equal(again.kept()[name], array)


def two_rounds(plan: Plan, folder: Path) -> tuple[TrainReply, TrainReply]:
    task = first_task(plan, folder)
    site = Site(open_dataset(site_uri("a")), "a", folder / "a")
    first = site.train(plan, task, lambda: False)
    second = TrainTask(plan.text, 2, 0.0, task.variance, dict(first.arms), None, task.factors)
    return first, site.train(plan, second, lambda: False)


def test_beta_zero_trains_to_the_bits_of_no_suppression(tmp_path: Path) -> None:
    _, mine = two_rounds(plan_of([ARM]), tmp_path / "with")
    _, plain = two_rounds(plan_of([{"sampler": "infomri"}]), tmp_path / "without")
    (found,), (expected,) = mine.arms.values(), plain.arms.values()
    np.testing.assert_array_equal(found, expected)


def test_the_attacker_stays_on_the_sites_disk_and_each_round_goes_on_with_it(
    tmp_path: Path,
) -> None:
    plan, plain = plan_of([{**ARM, "beta": 0.1}]), plan_of([{"sampler": "infomri"}])
    first, second = two_rounds(plan, tmp_path / "a")
    reply, _ = two_rounds(plain, tmp_path / "b")
    assert [f.size for f in first.arms.values()] == [f.size for f in reply.arms.values()]
    assert {f.name for f in fields(second)} == {f.name for f in fields(reply)}
    name, store = plan.arms[0].name, OptimizerStore(tmp_path / "a" / "a")
    kept = [store.load(plan.digest, name, number) for number in (1, 2)]
    assert all(state is not None and KEY in state for state in kept)
    steps = [float(state[f"{KEY} steps"][0]) for state in kept if state is not None]
    assert steps == [2.0, 4.0]


def test_epsilon_and_targets_that_it_cannot_hold_are_refused() -> None:
    with pytest.raises(InputError, match=r"masks alone with \[privacy\]"):
        plan_of([{**ARM, "beta": 0.1}], privacy={**PRIVACY})
    with pytest.raises(InputError, match="psnr_target"):
        plan_of([{**ARM, "psnr_target": 19.0}])
    private = plan_of([{"sampler": "infomri"}], privacy={**PRIVACY})
    penalty = AdversarialQuality(torch.ones(2, *SHAPE), NOISE)
    with pytest.raises(InputError, match="masks alone"):
        PrivateGradients(
            private, penalty, [], lambda rows: (torch.empty(0),) * 2, SecretStream.fresh()
        )


def test_a_u_net_judges_it_too_mildly() -> None:
    row = row_of("a", "infomri", 0.1, 0, 8.0, "adversarial")
    assert weaker_judge(row, "unet") and not weaker_judge(row, "lmmse")
