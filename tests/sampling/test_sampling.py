"""Laws of the samplers: budgets are exact, and each point has the probability it was given."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.sampling import draw_masks, rescale
from infomri_core.sampling.masks import _ONE, _fixed_point
from infomri_core.system.errors import InputError

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
seeds = st.integers(0, 2**31)
constraints = st.sampled_from(["2d", "1d"])
methods = st.sampled_from(["systematic", "rejection"])
laws = settings(deadline=None, max_examples=60)
UNEQUAL = torch.tensor([[0.95, 0.7, 0.5], [0.4, 0.3, 0.15]], dtype=torch.float64)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _within(observed: np.ndarray, expected: np.ndarray, n: int) -> bool:
    """All frequencies inside a Bernstein bound whose chance of a false alarm is below 1e-6."""
    log_term = math.log(2 * expected.size / 1e-6)
    bound = np.sqrt(2 * expected * (1 - expected) * log_term / n) + log_term / n
    return bool((np.abs(observed - expected) <= bound).all())


@laws
@given(shapes, seeds, st.floats(0, 1), st.floats(0.01, 1))
def test_rescaled_probabilities_have_the_wanted_mean_and_stay_in_range(shape, seed, ratio, top):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        b = top * torch.rand(shape, dtype=dtype, generator=_generator(seed))
        mu = rescale(b, ratio)
        assert mu.dtype == dtype
        assert ((mu >= 0) & (mu <= 1)).all()
        assert mu.double().mean().item() == pytest.approx(ratio, abs=tolerance)


@laws
@given(seeds, st.floats(0.01, 0.99))
def test_rescaling_keeps_the_order_and_the_nearer_end(seed, ratio):
    b = torch.rand(3, 5, dtype=torch.float64, generator=_generator(seed))
    b[0, 0], b[2, 4] = 0.0, 1.0
    mu = rescale(b, ratio)
    assert (mu.flatten()[b.flatten().argsort()].diff() >= 0).all()
    assert mu[0, 0] == 0 if b.mean() >= ratio else mu[2, 4] == 1


@pytest.mark.parametrize("ratio", [0.1, 0.9])
def test_rescale_is_differentiable_on_both_sides(ratio):
    b = torch.rand(3, 4, dtype=torch.float64, generator=_generator(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: rescale(b, ratio), (b,))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_rescale_of_constants_is_the_ratio_with_a_finite_slope(value, ratio):
    b = torch.full((3, 3), value, requires_grad=True)
    mu = rescale(b, ratio)
    mu.sum().backward()
    torch.testing.assert_close(mu, torch.full((3, 3), ratio))
    assert b.grad.isfinite().all()


@laws
@given(shapes, seeds, constraints, methods, st.sampled_from([torch.float32, torch.float64]))
def test_every_mask_has_the_floor_or_ceiling_of_the_budget(shape, seed, constraint, method, dtype):
    p = torch.rand(shape, dtype=dtype, generator=_generator(seed))
    p = p[:1].expand(shape) if constraint == "1d" else p
    budget = (p[0] if constraint == "1d" else p).double().sum().item()
    masks = draw_masks(p, 20, constraint, method, _generator(seed))
    assert masks.shape == (20, *shape) and masks.dtype == dtype
    assert torch.equal(masks, masks.bool().to(dtype))
    if constraint == "1d":
        assert torch.equal(masks, masks[:, :1].expand_as(masks))
        masks = masks[:, 0]
    counts = masks.flatten(1).sum(1)
    assert set(counts.tolist()) <= {math.floor(budget), math.ceil(budget)}


@laws
@given(shapes, seeds, constraints, methods, st.data())
def test_a_whole_budget_is_kept_exactly(shape, seed, constraint, method, data):
    rows = 1 if constraint == "1d" else shape[0]
    n = data.draw(st.integers(0, rows * shape[1]))
    b = torch.rand(rows, shape[1], generator=_generator(seed))
    p = rescale(b, n / b.numel()).expand(shape)
    counts = draw_masks(p, 20, constraint, method, _generator(seed))[:, :rows].sum((1, 2))
    assert set(counts.tolist()) == {n}


@laws
@given(shapes, seeds, st.data())
def test_a_whole_budget_is_a_whole_number_of_fixed_point_ones(shape, seed, data):
    n = data.draw(st.integers(0, math.prod(shape)))
    units = rescale(torch.rand(shape, generator=_generator(seed)), n / math.prod(shape)).double()
    fixed = _fixed_point(units.flatten())
    assert fixed.sum() == n * _ONE
    assert ((fixed >= 0) & (fixed <= _ONE)).all()
    torch.testing.assert_close(fixed.double() / _ONE, units.flatten(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [128, 320])
def test_a_whole_budget_is_kept_on_a_large_grid_in_single_precision(size):
    p = rescale(torch.rand(size, size, generator=_generator(0)) ** 4, 1 / 16)
    counts = draw_masks(p, 8, generator=_generator(1)).sum((1, 2))
    assert set(counts.tolist()) == {size * size / 16}


@laws
@given(seeds, methods)
def test_impossible_points_are_never_sampled_and_certain_ones_always(seed, method):
    p = torch.rand(6, 6, generator=_generator(seed))
    p[0], p[1] = 0.0, 1.0
    masks = draw_masks(p, 20, "2d", method, _generator(seed))
    assert not masks[:, 0].any() and masks[:, 1].all()


@pytest.mark.parametrize("budget", [3.0, 2.6])
def test_systematic_inclusion_probabilities_are_the_given_ones(budget):
    p = rescale(torch.rand(5, 4, generator=_generator(3)), budget / 20)
    masks = draw_masks(p, 60_000, generator=_generator(4))
    assert _within(masks.mean(0).numpy(), p.numpy(), 60_000)


def test_systematic_columns_have_the_given_probabilities():
    p = rescale(torch.rand(1, 9, generator=_generator(3)), 0.3).expand(4, 9)
    masks = draw_masks(p, 60_000, "1d", generator=_generator(4))
    assert _within(masks[:, 0].mean(0).numpy(), p[0].numpy(), 60_000)


def _pair_probabilities(p: np.ndarray) -> np.ndarray:
    """Pair probabilities of randomised systematic sampling: every order, every start."""
    n = len(p)
    pairs, orders = np.zeros((n, n)), list(itertools.permutations(range(n)))
    for order in orders:
        ends = np.cumsum(p[list(order)])
        breaks = np.unique(np.concatenate([[0, 1], np.ceil(ends) - ends]))
        for low, high in itertools.pairwise(breaks):
            passed = np.floor(np.concatenate([[0], ends]) + (low + high) / 2)
            mask = np.zeros(n)
            mask[list(order)] = np.diff(passed) > 0
            pairs += (high - low) * np.outer(mask, mask)
    return pairs / len(orders)


def test_systematic_pair_probabilities_are_those_of_a_fresh_random_order():
    n = 60_000
    masks = draw_masks(UNEQUAL, n, generator=_generator(5)).flatten(1).numpy()
    expected = _pair_probabilities(UNEQUAL.flatten().numpy())
    np.testing.assert_allclose(np.diag(expected), UNEQUAL.flatten().numpy(), atol=1e-12)
    assert _within(masks.T @ masks / n, expected, n)


def test_equal_probabilities_make_every_pair_equally_likely():
    n, size, budget = 40_000, 12, 4
    masks = draw_masks(torch.full((3, 4), budget / size), n, generator=_generator(6))
    pairs = (masks.flatten(1).T @ masks.flatten(1) / n).numpy()
    expected = np.full((size, size), budget * (budget - 1) / (size * (size - 1)))
    np.fill_diagonal(expected, budget / size)
    assert _within(pairs, expected, n)


def test_rejection_draws_from_the_independent_law_given_the_count():
    n, p = 60_000, UNEQUAL.flatten().numpy()
    masks = draw_masks(UNEQUAL, n, "2d", "rejection", _generator(7)).flatten(1).numpy()
    every = np.array(list(itertools.product([0, 1], repeat=len(p))))
    weights = np.where(every, p, 1 - p).prod(1) * (every.sum(1) == round(p.sum()))
    weights /= weights.sum()
    assert _within(masks.T @ masks / n, np.einsum("k,ki,kj->ij", weights, every, every), n)


@pytest.mark.parametrize("method", ["systematic", "rejection"])
@pytest.mark.parametrize("constraint", ["2d", "1d"])
def test_masks_pass_their_slope_straight_to_the_probabilities(constraint, method):
    p = torch.full((3, 6), 0.5, requires_grad=True)
    masks = draw_masks(p, 4, constraint, method, _generator(0))
    weights = torch.rand(masks.shape, generator=_generator(1))
    (masks * weights).sum().backward()
    torch.testing.assert_close(p.grad, weights.sum(0))
    assert torch.equal(masks.detach(), masks.detach().bool().float())


@pytest.mark.parametrize("method", ["systematic", "rejection"])
def test_masks_depend_on_the_seed_alone(method):
    first, same, other = (
        draw_masks(torch.full((6, 6), 0.3), 5, "2d", method, _generator(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len({tuple(m.flatten().tolist()) for m in first}) == 5


@pytest.mark.parametrize(
    ("p", "options", "message"),
    [
        (torch.full((4, 4), 1.2), {}, "in \\[0, 1\\].*1.2"),
        (torch.full((4, 4), -0.1), {}, "in \\[0, 1\\]"),
        (torch.full((4, 4), float("nan")), {}, "in \\[0, 1\\]"),
        (torch.rand(4, 4), {"constraint": "1d"}, "rows that differ"),
        (torch.rand(4, 4), {"constraint": "3d"}, "2d or 1d"),
        (torch.rand(4, 4), {"method": "poisson"}, "systematic or rejection"),
        (torch.rand(4), {}, "\\(H, W\\)"),
    ],
)
def test_wrong_probabilities_and_options_are_refused(p, options, message):
    with pytest.raises(InputError, match=message):
        draw_masks(p, 2, generator=_generator(0), **options)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, float("nan")])
def test_a_ratio_outside_the_unit_interval_is_refused(ratio):
    with pytest.raises(InputError, match="ratio"):
        rescale(torch.rand(3), ratio)
