"""Laws of samplers that learn from every turn: the chances of draws, and whose gradient it is."""

import itertools
from typing import Any

import pytest
import tomli_w
import torch
from torch import Tensor

from infomri_core.arms.build import build_model
from infomri_core.arms.lessons import advantages, losses_of
from infomri_core.physics.kspace import fft2c
from infomri_core.plan.reading import parse_plan
from infomri_core.sampling.options import Setting
from infomri_core.sampling.registry import options_from
from infomri_core.sampling.sampler import EveryTurn, PolicyGradient, Turn
from infomri_core.sampling.sequential.gumbel import gumbel_keys, largest, log_chance
from infomri_core.sampling.sequential.turns import Sequential
from infomri_core.suppression.registry import build_suppression
from tests.support.small import small_table

SHAPE = (16, 24)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(name: str, shape: tuple[int, int] = SHAPE, **keys: Any) -> Sequential:
    sampler = options_from(name, keys, "arm").build(Setting(shape), None, seeded())
    assert isinstance(sampler, Sequential)
    return sampler


def test_the_chances_of_all_ordered_draws_add_up_to_one() -> None:
    logits, taken = torch.randn(1, 5, generator=seeded()), torch.tensor([[0.0, 1, 0, 0, 0]])
    free = [0, 2, 3, 4]
    total = 0.0
    for first, second in itertools.permutations(free, 2):
        keys = torch.full((1, 5), -1.0)
        keys[0, first], keys[0, second], keys[0, 1] = 9.0, 8.0, -torch.inf
        total += float(log_chance(logits, keys, taken, torch.tensor([2])).exp())
    assert total == pytest.approx(1.0, abs=1e-6)


def test_draws_come_as_often_as_their_chance_says() -> None:
    n = 20_000
    logits = torch.tensor([1.0, 0.0, -1.0, 0.5]).expand(n, 4)
    taken = torch.zeros(n, 4)
    taken[:, 3] = 1
    counts = torch.ones(n, dtype=torch.long)
    keys = gumbel_keys(logits, taken, seeded(1))
    drawn = largest(keys, counts)
    chances = log_chance(logits, keys, taken, counts).exp()
    expected = torch.tensor([1.0, 0.0, -1.0]).softmax(0)
    assert torch.allclose(chances, (drawn[:, :3] * expected).sum(1), atol=1e-6)
    off = (drawn.mean(0)[:3] - expected).abs()
    assert bool((off <= 5 * (0.25 / n) ** 0.5).all()) and not drawn[:, 3].any()


@pytest.mark.parametrize("greedy", [True, False])
def test_the_mean_of_the_estimates_is_the_gradient_of_the_expected_loss(greedy: bool) -> None:
    """One turn of one unit of three: the expected loss is known, and so is its gradient. The
    network sees what was drawn, and its own gradient is that of the loss alone."""
    n, price = 2, torch.tensor([1.0, 4.0, 2.0])
    logits = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
    weight = torch.tensor(1.5, requires_grad=True)
    n_slices = 40_000
    taken, counts = torch.zeros(n_slices, 3), torch.ones(n_slices, dtype=torch.long)
    rows = logits.expand(n_slices, 3)
    keys = gumbel_keys(rows.detach(), taken, seeded(2))
    drawn = largest(keys, counts)
    turn = Turn(drawn, drawn, log_chance(rows, keys, taken, counts))
    lesson = PolicyGradient(n, greedy)
    loss = losses_of(lesson, [turn], lambda t: {"cost": weight * (t.y * price).sum(1)})["cost"]
    plain = float((drawn * price).sum(1).mean())
    assert float(loss.detach()) == pytest.approx(1.5 * plain, rel=1e-5)
    of_logits, of_weight = torch.autograd.grad(loss, (logits, weight))
    (expected,) = torch.autograd.grad(1.5 * (logits.softmax(0) * price).sum(), logits)
    assert torch.allclose(of_logits, expected, atol=0.05)
    assert float(of_weight) == pytest.approx(plain, rel=1e-5)


def test_advantages_leave_out_one_s_own_and_greed_sees_one_turn_only() -> None:
    after = torch.tensor([[3.0, 1.0, 5.0, 5.0], [2.0, 2.0, 0.0, 1.0]])
    greedy = advantages(after, PolicyGradient(2, True))
    assert torch.equal(greedy, torch.tensor([[2.0, -2, 0, 0], [0.0, 0, -1, 1]]))
    # What the loss rose from each turn on: without a discount, where it ended.
    ends = advantages(after, PolicyGradient(2, False, 1.0))
    assert torch.equal(ends[0], torch.tensor([0.0, 0, -1, 1]))
    rises = after[1] - after[0]
    half = advantages(after, PolicyGradient(2, False, 0.5))[0]
    first = after[0] + 0.5 * rises
    assert torch.allclose(half, torch.stack([a - b for a, b in zip(first, first[[1, 0, 3, 2]])]))


@pytest.mark.parametrize("greedy", [True, False])
def test_trajectories_of_a_slice_share_a_budget_and_where_greedy_a_state(greedy: bool) -> None:
    sampler = made("pg-mri", greedy=greedy, trajectories=3, turns=2)
    k = fft2c(torch.rand(4, *SHAPE, generator=seeded(3)))
    first, second = sampler.practise(k, 0.21, lambda: torch.zeros_like(k), seeded(4))
    assert len(first.mask) == 12 and first.log_prob is not None
    budgets = second.mask.sum((1, 2)).view(4, 3)
    assert torch.equal(budgets, budgets[:, :1].expand(4, 3))
    leader = first.mask.view(4, 3, *SHAPE)[:, :1]
    kept = (second.mask.view(4, 3, *SHAPE) * leader).sum((2, 3)) == leader.sum((2, 3))
    assert bool(kept.all()) == greedy


@pytest.mark.parametrize("name", ["pg-mri", "fsl-like"])
def test_the_last_turn_of_practice_is_what_is_measured(name: str) -> None:
    sampler = made(name, trajectories=2) if name == "pg-mri" else made(name)
    k = fft2c(torch.rand(5, *SHAPE, generator=seeded(3)))
    turns = sampler.practise(k, 0.2, lambda: torch.zeros_like(k), seeded(4))
    assert len(turns) == 4
    counts = torch.stack([t.mask.sum((1, 2)) for t in turns])
    assert bool((counts.diff(dim=0) > 0).all())
    assert all(bool((t.y[t.mask == 0] == 0).all()) for t in turns)


def test_the_loss_of_every_turn_is_their_mean() -> None:
    turns = [Turn(torch.full((2, 1, 1), float(i)), torch.zeros(2, 1, 1)) for i in range(3)]
    found = losses_of(EveryTurn(), turns, lambda t: {"a": t.y[:, 0, 0], "b": -t.y[:, 0, 0]})
    assert {n: v.item() for n, v in found.items()} == {"a": 1.0, "b": -1.0}


@pytest.mark.parametrize(
    "arm",
    [{"sampler": "pg-mri", "greedy": False}, *({"sampler": n} for n in ("fsl-like", "a-dps"))],
)
def test_a_step_of_training_moves_network_and_sampler(arm: dict[str, Any]) -> None:
    plan = parse_plan(tomli_w.dumps(small_table() | {"arms": [arm]}))
    model = build_model(plan, plan.arms[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=seeded(1))
    images: Tensor = torch.rand(6, *plan.task.shape, generator=seeded(2))
    targets = plan.task.no_targets(6)
    variance = torch.ones(2, *plan.task.shape)
    suppression = build_suppression("none", variance, None, plan.measurement.noise_std)
    terms = model.loss(images, targets, 0.2, suppression, seeded(3))
    terms.total(plan.arms[0].beta).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert [n for n in still if n.startswith("sampler")] == []
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.network.parameters())
