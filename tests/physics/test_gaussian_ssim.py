"""The Gaussian-window SSIM is that of its definition, and a scale by the target fills [0, 1]."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from infomri_core.physics.images import gaussian_ssim, scaled_by


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004 with SciPy's Gaussian of seven points, over full windows."""

    def smooth(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, sigma=1, radius=3)[3:-3, 3:-3]

    mx, my = smooth(x), smooth(y)
    vx, vy = smooth(x * x) - mx**2, smooth(y * y) - my**2
    covariance = smooth(x * y) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * covariance + 9e-4)
    return float((top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean())


@pytest.mark.parametrize("shape", [(9, 12), (32, 17)])
def test_it_is_that_of_its_definition(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, *shape, generator=generator).double()
    output = (target + 0.1 * torch.randn(2, *shape, generator=generator)).clamp(0, 1)
    expected = [by_definition(x.numpy(), y.numpy()) for x, y in zip(output, target)]
    assert gaussian_ssim(output, target).tolist() == pytest.approx(expected, rel=1e-9)


def test_a_target_scaled_by_itself_fills_the_range() -> None:
    target = 3 + 2 * torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    scaled = scaled_by(target, target)
    assert scaled.amin((1, 2)).tolist() == [0, 0]
    torch.testing.assert_close(scaled.amax((1, 2)), torch.ones(2))
