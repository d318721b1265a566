"""The mouth of a network is the convolution it replaces, in value and in gradient."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from infomri_core.models.mouth import Mouth


@pytest.mark.parametrize("shape", [(48, 48), (49, 50), (51, 49), (7, 7), (8, 9)])
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_features_and_gradients_are_those_of_the_plain_convolution(
    shape: tuple[int, int], last: bool
) -> None:
    torch.manual_seed(0)
    mouth, layout = Mouth(2, 5).double(), torch.channels_last if last else torch.contiguous_format
    images = torch.randn(3, 2, *shape).double().to(memory_format=layout).requires_grad_()
    plain = functional.conv2d(images, mouth.weight, None, 2, 3)
    found = mouth(images)
    assert torch.equal(found, plain)
    weights = torch.randn_like(plain)
    for a, b in zip(
        gradients(found, weights, images, mouth), gradients(plain, weights, images, mouth)
    ):
        torch.testing.assert_close(a, b)


def gradients(features: Tensor, weights: Tensor, images: Tensor, mouth: Mouth) -> list[Tensor]:
    return list(torch.autograd.grad((features * weights).sum(), (images, mouth.weight)))


def test_a_gradient_of_the_gradient_is_right() -> None:
    """Attacks on weights need it."""
    torch.manual_seed(1)
    mouth = Mouth(1, 2).double()
    images = torch.randn(1, 1, 7, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mouth, images)
    assert torch.autograd.gradgradcheck(mouth, images)
