"""The projection onto the box and the budget is the nearest point, exactly."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from infomri_core.prom.projection import project

VALUES = st.lists(st.floats(-3, 4, width=32), min_size=1, max_size=12)


def tensor(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def by_bisection(theta: torch.Tensor, budget: float) -> torch.Tensor:
    low, high = 0.0, 10.0
    if float(theta.clamp(0, 1).sum()) <= budget:
        return theta.clamp(0, 1)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if float((theta - middle).clamp(0, 1).sum()) > budget else (low, middle)
        )
    return (theta - high).clamp(0, 1)


@given(VALUES, st.floats(0, 1))
def test_it_is_what_bisection_finds(values: list[float], share: float) -> None:
    theta, budget = tensor(values), share * len(values)
    torch.testing.assert_close(
        project(theta, budget), by_bisection(theta, budget), atol=1e-9, rtol=0
    )


@given(VALUES, st.floats(0, 1))
def test_it_keeps_the_budget_and_the_order_and_does_nothing_twice(
    values: list[float], share: float
) -> None:
    theta, budget = tensor(values), share * len(values)
    found = project(theta, budget)
    assert float(found.sum()) <= budget + 1e-9
    assert bool(((found >= 0) & (found <= 1)).all())
    order = theta.argsort()
    assert bool((found[order].diff() >= 0).all())
    torch.testing.assert_close(project(found, budget), found, atol=1e-12, rtol=0)


@given(VALUES, VALUES, st.floats(0, 1))
def test_no_feasible_point_is_nearer(
    values: list[float], other: list[float], share: float
) -> None:
    n = min(len(values), len(other))
    theta, budget = tensor(values[:n]), share * n
    rival = tensor(other[:n]).clamp(0, 1)
    rival *= min(1.0, budget / max(float(rival.sum()), 1e-12))
    near = (project(theta, budget) - theta).norm()
    assert float(near) <= float((rival - theta).norm()) + 1e-9


def test_a_feasible_point_stays_where_it_is() -> None:
    theta = tensor([0.2, 0.9, 0.0, 1.0])
    assert torch.equal(project(theta, 3.0), theta)
