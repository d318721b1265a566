"""Ghost norms keep their digits where almost everything in them cancels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from infomri_core.dp.dp import MARGIN, clip_weights
from infomri_core.dp.per_sample import Layer, sum_error


@pytest.mark.parametrize("offset", [0.0, 1e2, 3e3])
def test_a_zero_sum_gradient_under_a_large_offset_has_its_norm(offset: float) -> None:
    """A layer whose norm comes from Gram matrices: sum (A + c) G = sum A G where G sums to zero,
    but the Gram sum holds c^2 |G|^2, which must cancel. Summed in float32 the clipped unit would
    add more than the clip."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Conv2d(64, 128, 1, bias=False)
    A = offset + torch.randn(3, 64, 4, 4, generator=generator)
    G = torch.randn(3, 128, 4, 4, generator=generator)
    G = G - G.mean((2, 3), keepdim=True)
    layer = Layer(module, A)
    layer.note(G)
    found = layer.squared_norms().double().sqrt()
    assert layer._kept is None, "the ghost norm is what is tested"
    exact = torch.einsum("bcp,bkp->bck", G.double().flatten(2), A.double().flatten(2))
    assert torch.allclose(found, exact.flatten(1).norm(dim=1), rtol=1e-5)


def cancelling(offset: float, n: int, seed: int) -> Layer:
    """A layer whose samples' gradients nearly vanish: a large input of one value, under gradients
    that sum to zero over the places."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Conv2d(64, 128, 1, bias=False)
    A = offset * (1 + torch.rand(n, 1, 1, 1, generator=generator))
    A = A + torch.randn(n, 64, 4, 4, generator=generator)
    G = torch.randn(n, 128, 4, 4, generator=generator)
    layer = Layer(module, A)
    layer.note(G - G.mean((2, 3), keepdim=True))
    return layer


def exact_gradients(layer: Layer) -> np.ndarray:
    """(n, parameters): the samples' gradients with 64 bits of mantissa."""
    A = layer._inputs.flatten(2).numpy().astype(np.longdouble)
    G = layer._gradients.flatten(2).numpy().astype(np.longdouble)
    return np.stack([(g @ a.T).ravel() for a, g in zip(A, G, strict=True)])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0.0, 1e2, 1e4, 1e6, 1e7]), st.integers(1, 40), st.integers(0, 2**31))
def test_norms_are_never_too_small_and_the_clipped_sum_is_right_to_its_bound(
    offset: float, n: int, seed: int
) -> None:
    layer, clip = cancelling(offset, n, seed), 0.5
    squared = layer.squared_norms()
    exact = exact_gradients(layer)
    true = np.sqrt((exact**2).sum(1))
    assert (squared.sqrt().numpy() >= true * (1 - 1e-12)).all()
    weights = clip_weights(squared, clip)
    (found,) = layer.weighted(weights).values()
    wanted = (weights.numpy().astype(np.longdouble)[:, None] * exact).sum(0)
    error = np.sqrt(((found.numpy().ravel() - wanted) ** 2).sum())
    assert float(error) <= sum_error(n) * clip


def test_in_float32_the_sum_of_a_batch_would_pass_the_margin() -> None:
    """The control: what the bound is for."""
    layer, clip = cancelling(1e7, 32, 0), 0.5
    weights = clip_weights(
        torch.from_numpy((exact_gradients(layer) ** 2).sum(1).astype(float)), clip
    )
    A, G = layer._inputs.flatten(2), layer._gradients.flatten(2)
    single = torch.einsum("b,bop,bip->oi", weights.float(), G, A)
    wanted = (weights.numpy()[:, None] * exact_gradients(layer)).sum(0)
    error = np.sqrt(((single.numpy().ravel() - wanted) ** 2).sum())
    assert float(error) > 10 * MARGIN * clip


def test_the_margin_holds_both_sums_of_sixteen_thousand_samples() -> None:
    assert 2 * sum_error(16_000) < MARGIN < 2 * sum_error(32_000)
