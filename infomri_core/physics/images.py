"""How near a reconstruction comes to the true image.

Images are (B, H, W) in [0, 1], range 1; a figure of each image is (B,).
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

MSE_FLOOR = 1e-12
MAX_PSNR = 50.0
"""dB beyond which an image is a copy: bounds what a single one can do to a mean of PSNRs."""
ENERGY_FLOOR = 1e-4
_WINDOW = 7


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB.

    Args:
        output: Reconstructions, clipped to [0, 1].
        target: True images.
    """
    return -10 * torch.log10(mse(output, target).clamp_min(MSE_FLOOR))


def _limited_psnr(output: Tensor, target: Tensor) -> Tensor:
    return psnr(output, target).clamp_max(MAX_PSNR)


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each image.

    Args:
        output: Reconstructions, clipped to [0, 1].
        target: True images.
    """
    return (output.clamp(0, 1) - target).square().mean(dim=(-2, -1))


def nmse(output: Tensor, target: Tensor) -> Tensor:
    """Squared error of each image over its energy.

    Args:
        output: Reconstructions, clipped to [0, 1].
        target: True images. Their energy is taken as at least 1e-4 a pixel, so that an empty
            slice does not decide a mean.
    """
    energy = target.square().mean(dim=(-2, -1)).clamp_min(ENERGY_FLOOR)
    return mse(output, target) / energy


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image: uniform 7x7 window, mean over full windows.

    Wang et al. 2004 with sample covariances, as scikit-image's default with ``data_range=1``.

    Args:
        output: Reconstructions, clipped to [0, 1].
        target: True images, of at least 7 x 7 pixels.
    """
    x, y = output.clamp(0, 1).double().unsqueeze(1), target.double().unsqueeze(1)
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)
    mx, my, mxx, myy, mxy = avg_pool2d(moments, _WINDOW, stride=1).unbind(1)
    sample = _WINDOW**2 / (_WINDOW**2 - 1)
    vx, vy, vxy = sample * (mxx - mx * mx), sample * (myy - my * my), sample * (mxy - mx * my)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    structure = (2 * vxy + c2) / (vx + vy + c2)
    return (luminance * structure).mean(dim=(-2, -1)).to(target.dtype)


def gaussian_ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image: Gaussian 7x7 window of standard deviation 1, mean over
    full windows (Wang et al. 2004 without sample covariances, as ProM reports it).

    Args:
        output: Reconstructions, clipped to [0, 1].
        target: True images, of at least 7 x 7 pixels.
    """
    x, y = output.clamp(0, 1).double(), target.double()
    moments = torch.stack([x, y, x * x, y * y, x * y], dim=1)
    offsets = torch.arange(_WINDOW, dtype=torch.float64, device=x.device) - _WINDOW // 2
    line = torch.exp(-offsets.square() / 2)
    line = (line / line.sum()).expand(5, 1, 1, -1)
    smooth = conv2d(conv2d(moments, line, groups=5), line.mT, groups=5)
    mx, my, mxx, myy, mxy = smooth.unbind(1)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    structure = (2 * (mxy - mx * my) + c2) / (mxx - mx * mx + myy - my * my + c2)
    return (luminance * structure).mean(dim=(-2, -1)).to(target.dtype)


def scaled_by(target: Tensor, image: Tensor) -> Tensor:
    """``image`` on the scale on which each ``target`` fills [0, 1].

    Args:
        target: Sets the scale, image by image; any values.
        image: Any values.
    """
    low, high = target.amin((-2, -1), keepdim=True), target.amax((-2, -1), keepdim=True)
    return (image - low) / (high - low).clamp_min(1e-12)


def image_metrics(output: Tensor, target: Tensor) -> Tensor:
    """PSNR, MSE, SSIM and NMSE of each image.

    Args:
        output: Reconstructions, clipped to [0, 1].
        target: True images.

    Returns:
        (B, 4), in the order of ``metrics.METRICS``; PSNR is limited to ``MAX_PSNR``.
    """
    measures = (_limited_psnr, mse, ssim, nmse)
    return torch.stack([measure(output, target) for measure in measures], dim=1)
