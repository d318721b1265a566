"""The linear minimum mean squared error estimator in closed form: the audit's reference."""

from collections.abc import Mapping, Sequence
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.errors import InputError
from infomri_core.images import psnr
from infomri_core.kspace import fft2c, ifft2c, reflect
from infomri_core.privacy.attacks.base import Attack, Policies, check_images, hold_out
from infomri_core.privacy.attacks.conjugate import symmetrise
from infomri_core.privacy.attacks.covariance import MAX_RANK, Spread, spread
from infomri_core.privacy.attacks.scenarios import Scenarios

SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
_N_TRIALS = 48
_CHUNK = 2**24


@final
class LMMSE(Attack):
    """Posterior mean of a Gaussian image with the audit set's mean and shrunk covariance.

    C = L L^T + F^H diag(d) F: low-rank factors of the sample covariance, and a k-space diagonal
    that keeps it from trusting a small audit set. The share of the diagonal is chosen on audit
    images held out from the covariance. One Cholesky factorisation a mask, of the smaller of the
    number of factors and of measured numbers.
    """

    name = "lmmse"
    mean: Tensor
    factors: Tensor
    diagonal: Tensor
    noise_std: Tensor
    rows: Tensor
    unique: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("factors", torch.zeros(0, *self.shape))
        self.register_buffer("diagonal", torch.ones(self.shape))
        self.register_buffer("noise_std", torch.ones(1))
        unique, scale = _half_plane(self.shape)
        self.register_buffer("unique", unique, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self._derive()

    @torch.no_grad()
    def fit(
        self,
        images: Tensor,
        policy: Policies,
        ratios: Sequence[float],
        noise_std: float,
        generator: torch.Generator,
        patients: np.ndarray | None = None,
    ) -> Self:
        check_images(images, self.shape)
        images = images.float()
        self.noise_std = images.new_full((1,), noise_std)
        share = 1.0
        if len(images) > 2:
            scenarios = Scenarios.of(policy, ratios, noise_std, images.device)
            share = self._choose_share(images, scenarios, generator, patients)
        self._take(spread(images, generator), share)
        return self

    @torch.no_grad()
    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        y, count = symmetrise(measurement, mask)
        seen = count.flatten(1)[:, self.unique]
        n_points = max(1, int((seen > 0).sum(1).max()))
        n_together = max(1, _CHUNK // (2 * n_points * max(1, len(self.factors))))
        deviation = ((y - fft2c(self.mean)).flatten(1)[:, self.unique]) * self.scale
        parts = [
            self._posterior(z, c, n_points)
            for z, c in zip(deviation.split(n_together), seen.split(n_together))
        ]
        return (self.mean + torch.cat(parts)).clamp(0, 1)

    def _posterior(self, deviation: Tensor, seen: Tensor, n_points: int) -> Tensor:
        """Posterior deviation from the mean image, (B, H, W), from half-plane k-space (B, h).

        With A = D^-1/2 U, D = d + noise, u = D^-1/2 z (U the factors at the measured points):
        (I + A A^T)^-1 u = u - A (I + A^T A)^-1 A^T u, whichever side is smaller.
        """
        count, points = seen.topk(n_points, dim=1)
        variance = self.diagonal.flatten()[self.unique][points].double()
        total = variance + 2 * self.noise_std.double().square() / count.clamp_min(1)
        root = torch.where(count > 0, total.rsqrt(), 0)[..., None]
        u = (torch.view_as_real(deviation.gather(1, points)) * root).flatten(1)[..., None]
        a = (self.rows[points] * root[..., None]).flatten(1, 2)
        if a.shape[1] <= a.shape[2]:
            s = _solve(a @ a.mT, u)
            weights = a.mT @ s
        else:
            weights = _solve(a.mT @ a, a.mT @ u)
            s = u - a @ weights
        change = variance[..., None] * root * s.view(len(u), n_points, 2)
        values = torch.view_as_complex(change).to(deviation.dtype) * self.scale[points] / 2
        plane = deviation.new_zeros(len(u), self.diagonal.numel())
        plane.scatter_(1, self.unique[points], values)
        plane = plane.view(-1, *self.shape)
        image = torch.real(ifft2c(plane + reflect(plane).conj()))
        return image + torch.einsum("br,rhw->bhw", weights[..., 0].float(), self.factors)

    def _choose_share(
        self,
        images: Tensor,
        scenarios: Scenarios,
        generator: torch.Generator,
        patients: np.ndarray | None,
    ) -> float:
        """The share of the diagonal prior with the best mean PSNR on held-out audit images."""
        kept, held = hold_out(len(images), 0.25, patients)
        known = spread(images[kept], generator)
        trials = images[held[np.linspace(0, len(held) - 1, _N_TRIALS).round().astype(int)]]
        measurement, masks = scenarios.each(trials, generator)
        quality = {}
        for share in SHARES:
            self._take(known, share)
            quality[share] = float(psnr(self.reconstruct(measurement, masks), trials).mean())
        return max(quality, key=lambda share: quality[share])

    def _take(self, known: Spread, share: float) -> None:
        self.mean = known.mean
        self.factors, self.diagonal = known.shrunk(share)
        self._derive()

    def _resize(self, arrays: Mapping[str, np.ndarray]) -> None:
        factors = arrays.get("factors")
        n_factors = -1 if factors is None or factors.ndim != 3 else len(factors)
        if not 0 <= n_factors <= MAX_RANK:
            expected = f"factors (r <= {MAX_RANK}, H, W)"
            raise InputError("attack 'lmmse'", expected, f"{n_factors} of them", "fit it again")
        diagonal, noise_std = arrays.get("diagonal"), arrays.get("noise_std")
        if diagonal is None or noise_std is None or min(diagonal.min(), noise_std.min()) <= 0:
            raise InputError("attack 'lmmse'", "positive variances", "others", "fit it again")
        self.factors = torch.zeros(n_factors, *self.shape, device=self.mean.device)

    def _derive(self) -> None:
        """The factors' half-plane k-space as real numbers (h, 2, r)."""
        rows = torch.zeros(len(self.unique), 2, len(self.factors), device=self.mean.device)
        for start in range(0, len(self.factors), 64):
            k = fft2c(self.factors[start : start + 64]).flatten(1)[:, self.unique] * self.scale
            rows[..., start : start + 64] = torch.view_as_real(k).permute(1, 2, 0)
        self.register_buffer("rows", rows, persistent=False)


def _solve(gram: Tensor, right: Tensor) -> Tensor:
    """(I + gram)^-1 right, batched, by Cholesky."""
    gram.diagonal(dim1=-2, dim2=-1).add_(1)
    return torch.cholesky_solve(right, torch.linalg.cholesky(gram))


def _half_plane(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flat indices of one point of each conjugate pair, and what makes Re and Im coordinates.

    The coordinates are orthonormal: sqrt(2) for a pair, 1 where a point is its own partner.
    """
    index = torch.arange(shape[0] * shape[1])
    partner = reflect(index.view(shape)).flatten()
    half = index[index <= partner]
    return half, torch.where(half == partner[half], 1.0, 2.0**0.5)
