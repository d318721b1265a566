"""Statistics of k-space as values that merge: streamed, federated and resumed alike."""

from dataclasses import dataclass
from typing import Self, final

import torch

from infomri_core.physics.entropy import self_conjugate
from infomri_core.physics.kspace import reflect
from infomri_core.system.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class KSpaceMoments:
    """Count, mean and summed squared deviation of the real and imaginary parts of k-space.

    Args:
        count: How many slices were seen.
        mean: Float64 (2, H, W): real parts, then imaginary parts.
        deviation: Squared deviations from the mean, summed over slices; laid out like ``mean``.
    """

    count: int
    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def from_kspace(cls, kspace: torch.Tensor) -> Self:
        """Moments over all leading dimensions.

        Args:
            kspace: Complex (..., H, W).

        Raises:
            InputError: k-space that is not complex, empty, not finite, or all zero.
        """
        _check(kspace)
        parts = torch.view_as_real(kspace.reshape(-1, *kspace.shape[-2:])).movedim(-1, 1).double()
        mean = parts.mean(0)
        return cls(len(parts), mean, (parts - mean).square().sum(0))

    def merge(self, other: Self) -> Self:
        """Moments of both samples together (Chan, Golub and LeVeque, 1979).

        Raises:
            InputError: The two are of different (H, W).
        """
        if self.mean.shape != other.mean.shape:
            raise InputError(
                "KSpaceMoments.merge",
                f"k-space of shape {tuple(self.mean.shape[1:])}",
                str(tuple(other.mean.shape[1:])),
                "crop all images to one shape",
            )
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        between = delta.square() * (self.count * other.count / count)
        return type(self)(count, mean, self.deviation + other.deviation + between)

    @property
    def variance(self) -> torch.Tensor:
        """Variance about the mean, V^r and V^c, float64 (2, H, W), divided by the count.

        Symmetric under ``reflect`` exactly, and V^c = 0 where i = i*, as for real images.
        """
        plain = self.deviation / self.count
        symmetric = (plain + reflect(plain)) / 2
        own = self_conjugate((plain.shape[-2], plain.shape[-1])).to(plain.device)
        symmetric[1].masked_fill_(own, 0)
        return symmetric


def _check(kspace: torch.Tensor) -> None:
    where, remedy = "KSpaceMoments", "check the file the k-space came from"
    if not kspace.is_complex() or kspace.ndim < 2 or kspace.numel() == 0:
        got = f"{kspace.dtype} {tuple(kspace.shape)}"
        raise InputError(where, "complex k-space (..., H, W)", got, "pass fft2c(images)")
    if not bool(torch.isfinite(torch.view_as_real(kspace)).all()):
        raise InputError(where, "finite k-space", "NaN or infinite values", remedy)
    if not bool((kspace != 0).any()):
        raise InputError(where, "k-space with signal", "zeros only", remedy)
