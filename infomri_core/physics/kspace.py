"""k-space: the centred orthonormal Fourier transform, its adjoint, and the noisy measurement.

Images and k-space carry any leading batch dimensions; the last two are (H, W), with the zero
frequency at (H // 2, W // 2) for odd and even sizes alike.
"""

from typing import Any, cast

import torch

from infomri_core.randomness.draws import Randomness, device_of, normal
from infomri_core.system.errors import InputError

_AXES = (-2, -1)


def fft2c(image: torch.Tensor) -> torch.Tensor:
    """k = F x, the centred orthonormal DFT.

    Args:
        image: (..., H, W), real or complex.

    Returns:
        Complex (..., H, W) of the input's precision (float64 gives complex128).
    """
    return cast(torch.Tensor, _Transform.apply(image))


def ifft2c(kspace: torch.Tensor) -> torch.Tensor:
    """x = F^H k, at once the inverse and the adjoint of ``fft2c``.

    Args:
        kspace: (..., H, W), zero frequency at (H // 2, W // 2).

    Returns:
        Complex (..., H, W).
    """
    return cast(torch.Tensor, _Adjoint.apply(kspace))


class _Transform(torch.autograd.Function):
    """F, whose gradient is F^H: one transform, where autograd would go through each roll."""

    @staticmethod
    def forward(ctx: Any, image: torch.Tensor) -> torch.Tensor:
        ctx.real = not image.is_complex()
        return _roll(torch.fft.fft2(_roll(image, -1), norm="ortho"), 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        found = ifft2c(gradient)
        return found.real if ctx.real else found


class _Adjoint(torch.autograd.Function):
    """F^H, whose gradient is F."""

    @staticmethod
    def forward(ctx: Any, kspace: torch.Tensor) -> torch.Tensor:
        ctx.real = not kspace.is_complex()
        return _roll(torch.fft.ifft2(_roll(kspace, -1), norm="ortho"), 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        found = fft2c(gradient)
        return found.real if ctx.real else found


def _roll(values: torch.Tensor, sign: int) -> torch.Tensor:
    """fftshift (``sign`` 1) or ifftshift (-1) of (..., H, W): the four quadrants change places,
    in one pass where ``torch.fft`` takes two."""
    height, width = values.shape[-2:]
    h, w = (sign * (n // 2) % n for n in (height, width))
    result = values.new_empty(values.shape)
    for rows, from_rows in (
        (slice(h), slice(height - h, None)),
        (slice(h, None), slice(height - h)),
    ):
        for columns, from_columns in (
            (slice(w), slice(width - w, None)),
            (slice(w, None), slice(width - w)),
        ):
            result[..., rows, columns] = values[..., from_rows, from_columns]
    return result


def reflect(kspace: torch.Tensor) -> torch.Tensor:
    """Moves position i to its conjugate partner i* = -i mod (H, W); an involution.

    For a real image, ``kspace == reflect(kspace).conj()``.

    Args:
        kspace: (..., H, W), anything laid out like k-space, so masks and variances too.
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

    Noise is drawn again for every element of the result; y is differentiable in k and m.

    Args:
        kspace: Complex (..., H, W).
        mask: (H, W) or (..., H, W), float or bool; broadcasts against ``kspace``.
        noise_std: Standard deviation of the real part of n and of its imaginary part, which are
            independent and Gaussian.
        generator: May sit on another device.

    Returns:
        y, complex (..., H, W).

    Raises:
        InputError: The shapes do not broadcast, or the noise is negative or infinite.
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
    return sample(complex_noise(kspace, noise_std, generator, shape).add_(kspace), mask)


def complex_noise(
    kspace: torch.Tensor,
    noise_std: float,
    generator: Randomness,
    shape: tuple[int, ...] | None = None,
) -> torch.Tensor:
    """Noise of a whole grid: real and imaginary parts each N(0, noise_std^2).

    Args:
        kspace: What the noise is for: its precision, its device, and its shape by default.
        noise_std: Finite, 0 or more.
        shape: That of the noise, where it is another.

    Raises:
        InputError: A standard deviation below zero or infinite.
    """
    if not 0 <= noise_std < float("inf"):
        raise InputError("measure: noise_std", "0 <= noise_std", str(noise_std), "correct it")
    dtype = torch.promote_types(kspace.dtype, torch.complex32)
    device = device_of(generator, kspace.device)
    parts = normal(generator, (*(shape or kspace.shape), 2), device, dtype.to_real())
    return torch.view_as_complex(parts.mul_(noise_std)).to(kspace.device)


def sample(kspace: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``kspace`` where ``mask`` is one, exactly zero where it is zero.

    Args:
        kspace: Complex (..., H, W).
        mask: (..., H, W) of zeros and ones.
    """
    return torch.view_as_complex(torch.view_as_real(kspace) * mask.unsqueeze(-1))


def zero_fill(measurement: torch.Tensor) -> torch.Tensor:
    """The zero-filled image F^H y.

    Args:
        measurement: y, complex (..., H, W).

    Returns:
        Complex (..., H, W).
    """
    return ifft2c(measurement)
