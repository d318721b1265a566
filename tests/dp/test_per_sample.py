"""Ghost norms keep their digits where almost everything in them cancels."""

import pytest
import torch
from torch import nn

from infomri_core.dp.per_sample import Layer


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
