"""Laws of PUERT's binariser: its gradient, its schedule, and what cannot have it."""

import math
from typing import Any

import pytest
import tomli_w
import torch

from infomri_core.plan.reading import parse_plan
from infomri_core.sampling.masks import accepted_uniforms
from infomri_core.sampling.samplers.puert import TanhMasks, slope_at
from infomri_core.system.errors import InputError
from tests.support.small import small_table


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("slope", [0.1, 1.0, 10.0])
def test_the_gradient_is_the_published_one_of_each_draw(slope: float) -> None:
    mu = torch.full((4, 5), 0.4, requires_grad=True)
    with torch.no_grad():
        units = mu.flatten().double()
    u = accepted_uniforms(units, 3, seeded(1)).view(3, 4, 5)
    masks = TanhMasks(mu, (4, 5), slope).draw(3, seeded(1))
    assert torch.equal(masks.detach() > 0.5, u < 0.4)
    weights = torch.rand(3, 4, 5, generator=seeded(2))
    (found,) = torch.autograd.grad((masks * weights).sum(), mu)
    k = max(1 / slope, 1.0)
    each = k * slope * (1 - torch.tanh(2 * slope * (0.4 - u)).square())
    assert torch.allclose(found, (each.float() * weights).sum(0), atol=1e-5)


@pytest.mark.parametrize("grid", [(6, 10), (1, 10)])
def test_every_mask_keeps_the_budget_and_columns_are_whole(grid: tuple[int, int]) -> None:
    mu = torch.rand(grid, generator=seeded())
    mu = (mu * (3 * grid[0] / mu.sum())).expand(6, 10)
    masks = TanhMasks(mu, grid, 1.0).draw(50, seeded(1))
    assert torch.equal(masks.sum((1, 2)), torch.full((50,), 18.0))
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert grid[0] > 1 or torch.equal(masks, masks[:, :1].expand_as(masks))


def test_the_gradient_sharpens_evenly_in_its_logarithm() -> None:
    logs = [math.log10(slope_at(share)) for share in (0.0, 0.25, 0.5, 1.0)]
    assert logs == pytest.approx([-1.0, -0.5, 0.0, 1.0])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "any_ratio = true"),
        ({"privacy": {"noise_multiplier": 1.0, "rate": 0.1}}, "straight through"),
    ],
)
def test_what_cannot_be_is_refused_in_the_plan(more: dict[str, Any], words: str) -> None:
    arm = {"sampler": "puert"} | ({"any_ratio": True} if more else {})
    with pytest.raises(InputError, match=words):
        parse_plan(tomli_w.dumps(small_table() | {"arms": [arm]} | more))
