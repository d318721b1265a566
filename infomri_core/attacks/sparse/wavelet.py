"""Compressed sensing with wavelets: the image is sparse in an orthonormal wavelet basis."""

from functools import cache
from typing import Any, final

import torch
from torch import Tensor

from infomri_core.attacks.base import Style
from infomri_core.attacks.sparse.compressed import CompressedSensing
from infomri_core.attacks.sparse.fista import Penalty

HAAR = (0.5**0.5, 0.5**0.5)
DAUBECHIES4 = (
    (1 + 3**0.5) / (4 * 2**0.5),
    (3 + 3**0.5) / (4 * 2**0.5),
    (3 - 3**0.5) / (4 * 2**0.5),
    (1 - 3**0.5) / (4 * 2**0.5),
)
N_LEVELS = 4
_SHIFTS = (5, 3)


@cache
def filter_matrix(n: int, taps: tuple[float, ...]) -> Tensor:
    """One level of a periodic orthonormal wavelet transform, (n, n): ceil(n/2) low-pass rows,
    then the high-pass rows. With n odd the last sample is passed on as it is, as a low-pass one.
    """
    half = n // 2
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for row in range(half):
        for i, tap in enumerate(taps):
            column = (2 * row + i) % (2 * half)
            matrix[row, column] += tap
            matrix[n - half + row, column] += (-1) ** i * taps[-1 - i]
    if n % 2:
        matrix[half, n - 1] = 1
    return matrix


def block_sizes(shape: tuple[int, int], n_taps: int) -> list[tuple[int, int]]:
    """Size of the block that each level of the transform splits, the whole image first."""
    sizes: list[tuple[int, int]] = []
    height, width = shape
    while len(sizes) < N_LEVELS and min(height, width) >= n_taps:
        sizes.append((height, width))
        height, width = (height + 1) // 2, (width + 1) // 2
    return sizes


def analyse(image: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Wavelet coefficients (B, H, W) of images (B, H, W), coarse ones in the upper left corner.

    Orthonormal at any H and W: :func:`synthesise` is its adjoint and its inverse.
    """
    out = image.clone()
    for h, w in block_sizes((image.shape[-2], image.shape[-1]), len(taps)):
        rows, columns = (filter_matrix(n, taps).to(out) for n in (h, w))
        out[..., :h, :w] = rows @ out[..., :h, :w] @ columns.T
    return out


def synthesise(coefficients: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Images (B, H, W) from coefficients (B, H, W) of :func:`analyse`."""
    out = coefficients.clone()
    shape = (out.shape[-2], out.shape[-1])
    for h, w in reversed(block_sizes(shape, len(taps))):
        rows, columns = (filter_matrix(n, taps).to(out) for n in (h, w))
        out[..., :h, :w] = rows.T @ out[..., :h, :w] @ columns
    return out


@final
class WaveletNorm(Penalty):
    """Sum of absolute detail coefficients, in a basis shifted again at every step: cycle spinning,
    which takes away the blocks of one fixed basis (Coifman and Donoho 1995)."""

    def __init__(self, taps: tuple[float, ...] = DAUBECHIES4) -> None:
        self._taps = taps

    def shrink(self, image: Tensor, weight: Tensor, memory: Any) -> tuple[Tensor, Any]:
        number = 0 if memory is None else int(memory)
        shift = tuple(number * s % 2**N_LEVELS for s in _SHIFTS)
        c = analyse(image.roll(shift, (-2, -1)), self._taps)
        height, width = block_sizes((c.shape[-2], c.shape[-1]), len(self._taps))[-1]
        coarse = (..., slice((height + 1) // 2), slice((width + 1) // 2))
        kept = c[coarse].clone()
        c = c.sign() * (c.abs() - weight).clamp_min(0)
        c[coarse] = kept
        back = (-shift[0], -shift[1])
        return synthesise(c, self._taps).roll(back, (-2, -1)), number + 1


@final
class WaveletAttack(CompressedSensing):
    """Fewest Daubechies wavelets among the images that agree with y, up to the noise."""

    name = "wavelet"
    title = "compressed sensing: an image of few wavelets"
    style = Style("#E69F00", "-.", "dashdot")
    n_iterations = 80

    def make_penalty(self) -> Penalty:
        return WaveletNorm()
