"""A target in dB in place of beta: the constraint's laws."""

from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from infomri_core.data import open_dataset
from infomri_core.messages import TrainTask
from infomri_core.plan.plan import MOST, Plan
from infomri_core.plan.reading import parse_plan
from infomri_core.sampling.masks import draw_masks
from infomri_core.site.site import Site
from infomri_core.suppression.base import Slope, Suppression
from infomri_core.system.errors import InputError
from infomri_core.training.optimizer_store import OptimizerStore
from infomri_core.training.target import LARGEST_EXCESS, Targeted
from tests.support.small import site_uri, small_table
from tests.suppression.test_suppressed_training import first_task, plan_of

SHAPE = (16, 16)


class Worth(Suppression):
    """A figure that is linear in the mask, in dB: what each point gives the attack."""

    def __init__(self, worth: torch.Tensor) -> None:
        super().__init__(worth.device)
        self._worth = worth

    def evaluate(self, masks: torch.Tensor) -> tuple[torch.Tensor, Slope]:
        return (masks * self._worth).sum((-2, -1)), lambda: self._worth.expand_as(masks)


def drawn(ratio: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    masks = draw_masks(torch.full(SHAPE, ratio), 4, generator=generator)
    return masks.requires_grad_()


def of(target: float, ratios: tuple[float, ...] = (0.25,), held: int = 0) -> Targeted:
    worth = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    return Targeted(Worth(worth), target, 2.0, ratios, (0.05, 0.3), 100, held)


def test_the_figure_is_the_inner_one_and_its_gradient_weighs_as_the_multiplier_does() -> None:
    masks = drawn(0.25)
    inner = of(0.0)._inner(masks).mean()
    found = of(float(inner.detach()))
    found.state[0] = 0.5
    value = found.mean(masks)
    assert torch.allclose(value, inner)
    (slope,) = torch.autograd.grad(value, masks, retain_graph=True)
    (whole,) = torch.autograd.grad(inner, masks)
    assert torch.allclose(2.0 * slope, 0.5 * whole, atol=1e-6)


def test_a_target_that_is_met_weighs_nothing_and_one_that_is_not_rises_to_its_most() -> None:
    met, broken = of(1e3), of(-1e3)
    broken.state[0] = 1.999
    for _ in range(3):
        met.mean(drawn(0.25))
        broken.mean(drawn(0.25))
    assert met.state.tolist() == [0.0, 3.0] and broken.state.tolist() == [2.0, 3.0]


def test_a_policy_far_from_its_target_does_not_wind_the_multiplier_up() -> None:
    """Beyond ``LARGEST_EXCESS`` it rises alike; what weighs at once is not bounded."""
    near, far = of(0.0), of(0.0)
    weights = [found._weight(0, excess) for found, excess in ((near, LARGEST_EXCESS), (far, 9.0))]
    assert near.state[0] == far.state[0] > 0 and weights[1] > weights[0]


def test_each_acceleration_has_a_multiplier_of_its_own_and_none_before_the_warm_up_ends() -> None:
    found = of(0.0, (0.25, 0.0625), held=1)
    found.mean(drawn(0.25))
    assert found.state.tolist() == [0.0, 0.0, 1.0]
    found.mean(drawn(0.0625))
    low, high, _ = found.state
    assert low > 0 and high == 0


def test_a_policy_that_wants_the_attackers_points_ends_at_the_target() -> None:
    """It gains .1 nats a dB by what the attack gains: the multiplier ends where they balance."""
    worth = torch.linspace(0, 0.5, 256).view(SHAPE)
    found = Targeted(Worth(worth), 12.0, 2.0, (0.25,), (0.25, 0.25), 400, 0)
    logits = torch.zeros(256, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.05)
    told = []
    for _ in range(400):
        masks = (0.25 * 256 * torch.softmax(logits, 0)).view(1, *SHAPE)
        figure = (masks * worth).sum()
        loss = -0.1 * figure + 2.0 * found.mean(masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told.append(float(figure.detach()))
    assert max(told[:20]) > 14.0
    assert abs(told[-1] - 12.0) < 0.2 and abs(found.state[0] - 0.1) < 0.02


def target_arm(target: float, **keys: object) -> dict[str, object]:
    return {"sampler": "infomri", "suppression": "attack", "psnr_target": target, **keys}


def trained(plan: Plan, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    task, name = first_task(plan, folder), plan.arms[0].name
    site = Site(open_dataset(site_uri("a")), "a", folder / "a")
    site.train(plan, task, lambda: False)
    second = TrainTask(plan.text, 2, 0.0, task.variance, task.arms, None, task.factors)
    reply = site.train(plan, second, lambda: False)
    state = OptimizerStore(folder / "a").load(plan.digest, name, 2)
    assert state is not None
    return reply.arms[name], state.get("multipliers")


def test_multipliers_go_on_from_round_to_round_and_a_met_target_trains_as_no_suppression(
    tmp_path: Path,
) -> None:
    met, state = trained(plan_of([target_arm(50.0)]), tmp_path / "met")
    assert state is not None and state.tolist() == [0.0, 0.0, 4.0]
    plain, none = trained(
        plan_of([{"sampler": "infomri", "suppression": "attack"}]), tmp_path / "plain"
    )
    assert none is None
    np.testing.assert_allclose(met, plain, atol=1e-6)
    _, broken = trained(plan_of([target_arm(5.0)]), tmp_path / "broken")
    assert broken is not None and broken[:2].max() > 0


def test_a_plan_names_the_target_and_beta_is_the_most_it_weighs() -> None:
    arm = plan_of([target_arm(19.5)]).arms[0]
    assert arm.beta == MOST and arm.name == "infomri-attack-t19.5-s0"
    assert plan_of([target_arm(19.5, beta=0.3)]).arms[0].beta == 0.3
    written = small_table() | {"arms": [target_arm(19.5) | {"suppression": "marginal"}]}
    with pytest.raises(InputError, match="psnr_target"):
        parse_plan(tomli_w.dumps(written))
