"""k-space: the centred orthonormal Fourier transform, its adjoint, and the noisy measurement.

Images and k-space carry any leading batch dimensions; the last two are (H, W), with the zero
frequency at (H // 2, W // 2) for odd and even sizes alike.
"""

import torch

from infomri_core.randomness.draws import Randomness, device_of, normal
from infomri_core.system.errors import InputError

_AXES = (-2, -1)


def fft2c(image: torch.Tensor) -> torch.Tensor:
    """k = F x, the centred orthonormal DFT of images (..., H, W), real or complex.

    Returns complex (..., H, W) of the input's precision: float64 gives complex128.
    """
    shifted = torch.fft.ifftshift(image, dim=_AXES)
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=_AXES)


def ifft2c(kspace: torch.Tensor) -> torch.Tensor:
    """x = F^H k, at once the inverse and the adjoint of :func:`fft2c`; complex (..., H, W)."""
    shifted = torch.fft.ifftshift(kspace, dim=_AXES)
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=_AXES)


def reflect(kspace: torch.Tensor) -> torch.Tensor:
    """Moves position i to its conjugate partner i* = -i mod (H, W); an involution.

    Works on anything laid out like k-space (..., H, W): values, masks, variances. For a real
    image, ``kspace == reflect(kspace).conj()``.
    """
    shifts = [1 - kspace.shape[axis] % 2 for axis in _AXES]
    return torch.roll(torch.flip(kspace, _AXES), shifts, _AXES)


def measure(
    kspace: torch.Tensor,
    mask: torch.Tensor,
    noise_std: float,
    generator: Randomness,
) -> torch.Tensor:
    """y = m * (k + n) (InfoMRI, Eq. 2), exactly zero wherever the mask is.

    Real and imaginary parts of n are independent, each N(0, noise_std^2), drawn anew for every
    element of the result. ``mask`` (H, W) or (..., H, W), float or bool, broadcasts against
    ``kspace`` (..., H, W); y is differentiable in both. The generator may sit on another device.
    """
    try:
        shape = torch.broadcast_shapes(kspace.shape, mask.shape)
    except RuntimeError:
        raise InputError(
            "measure: mask",
            f"a shape that broadcasts against k-space {tuple(kspace.shape)}",
            str(tuple(mask.shape)),
            "give mask and k-space the same (H, W)",
        ) from None
    dtype = torch.promote_types(kspace.dtype, torch.complex32)
    if not 0 <= noise_std < float("inf"):
        raise InputError("measure: noise_std", "0 <= noise_std", str(noise_std), "correct it")
    device = device_of(generator, kspace.device)
    parts = normal(generator, (*shape, 2), device, dtype.to_real())
    noise = torch.view_as_complex(parts).to(kspace.device)
    return mask * (kspace + noise_std * noise)


def zero_fill(measurement: torch.Tensor) -> torch.Tensor:
    """The zero-filled image F^H y, complex (..., H, W)."""
    return ifft2c(measurement)
