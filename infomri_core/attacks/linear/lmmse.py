"""The linear minimum mean squared error estimator in closed form: the audit's reference."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.attacks.audit_set import AuditSet, check_images
from infomri_core.attacks.base import Attack, Style
from infomri_core.attacks.linear.conjugate import symmetrise
from infomri_core.physics.covariance import MAX_RANK, Spread, spread
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, ifft2c, reflect
from infomri_core.system.errors import InputError

SHARES = (0.03, 0.1, 0.25, 0.5, 0.75, 1.0)
N_LEVELS = 4
_N_FOLDS = 4
_N_TRIALS = 16
_CHUNK = 2**20
"""Numbers of the measured rows that are worked on together: what fits a cache, and what is not
given back to the system after each batch."""


@final
class LMMSE(Attack):
    """Posterior mean of a Gaussian image with the audit set's mean and shrunk covariance.

    C = (1 - a) S + a F^H diag(P) F: the sample covariance by its factors, and a stationary prior
    that keeps it from trusting a small audit set. How far S can be trusted depends on how much
    is seen: a is chosen on held-out audit images at four levels of the share of prior variance
    that a mask samples, and each mask is given the a of the nearest level. One Cholesky
    factorisation a mask, of the smaller of the number of factors and of measured numbers.

    The factors are S itself, no approximation, as long as images or pixels are at most 1024: S
    of n images has rank n - 1. Beyond that the 1024 leading directions are kept exactly, and of
    the others their variance in k-space.
    """

    name = "lmmse"
    title = "the best linear estimate, in closed form"
    style = Style("#0072B2", "-", "solid")
    least_images = 2
    linear = True
    mean: Tensor
    factors: Tensor
    lost: Tensor
    prior: Tensor
    levels: Tensor
    shares: Tensor
    noise_std: Tensor
    rows: Tensor
    unique: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("factors", torch.zeros(0, *self.shape))
        self.register_buffer("lost", torch.zeros(self.shape))
        self.register_buffer("prior", torch.ones(self.shape))
        self.register_buffer("levels", torch.zeros(N_LEVELS))
        self.register_buffer("shares", torch.ones(N_LEVELS))
        self.register_buffer("noise_std", torch.ones(1))
        unique, scale = _half_plane(self.shape)
        self.register_buffer("unique", unique, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.derive()

    @torch.no_grad()
    def fit(self, audit_set: AuditSet) -> Self:
        check_images(audit_set.images, self.shape)
        images = audit_set.images.float()
        self.noise_std = images.new_full((1,), audit_set.noise_std)
        self.levels, self.shares = images.new_zeros(N_LEVELS), images.new_ones(N_LEVELS)
        if len(images) > 2:
            self._choose_shares(replace(audit_set, images=images))
        return self.refit(images, audit_set.generator)

    def refit(self, images: Tensor, generator: torch.Generator) -> Self:
        """Mean and covariance from other images, all else as fitted before.

        Args:
            images: (n, H, W) in [0, 1].
            generator: Of the random directions beyond 1024 images and pixels.
        """
        self._take(spread(images.float(), generator))
        return self

    @torch.no_grad()
    def reconstruct(self, measurement: Tensor, mask: Tensor) -> Tensor:
        y, count = symmetrise(measurement, mask)
        seen = count.flatten(1)[:, self.unique]
        n_points = max(1, int((seen > 0).sum(1).max()))
        n_together = max(1, _CHUNK // (2 * n_points * max(1, len(self.factors))))
        share = self.shares[self._nearest_level(count)]
        deviation = ((y - fft2c(self.mean)).flatten(1)[:, self.unique]) * self.scale
        parts = [
            self._posterior(z, c, a, n_points)
            for z, c, a in zip(*(t.split(n_together) for t in (deviation, seen, share)))
        ]
        return (self.mean + torch.cat(parts)).clamp(0, 1)

    def _posterior(self, deviation: Tensor, seen: Tensor, share: Tensor, n_points: int) -> Tensor:
        """Posterior deviation from the mean image, (B, H, W), from half-plane k-space (B, h).

        ``seen`` (B, h) counts samples, ``share`` (B,) is a. With D = diagonal + noise, U the
        factors at the measured points, A = D^-1/2 U and u = D^-1/2 z:
        (I + A A^T)^-1 u = u - A (I + A^T A)^-1 A^T u, whichever side is smaller.
        """
        count, points = seen.topk(n_points, dim=1)
        prior, lost = (t.flatten()[self.unique][points] for t in (self.prior, self.lost))
        variance = torch.lerp(lost, prior, share[:, None]).double()
        total = variance + 2 * self.noise_std.double().square() / count.clamp_min(1)
        root = torch.where(count > 0, total.rsqrt(), 0)[..., None]
        u = (torch.view_as_real(deviation.gather(1, points)) * root).flatten(1)[..., None]
        trust = (1 - share.double()).sqrt()[:, None, None]
        a = self.rows[points].mul_((trust * root)[..., None].float()).flatten(1, 2).double()
        if a.shape[1] <= a.shape[2]:
            s = _solve(a @ a.mT, u)
            weights = a.mT @ s
        else:
            weights = _solve(a.mT @ a, a.mT @ u)
            s = u - a @ weights
        change = variance[..., None] * root * s.view(len(u), n_points, 2)
        values = torch.view_as_complex(change).to(deviation.dtype) * self.scale[points] / 2
        plane = deviation.new_zeros(len(u), self.prior.numel())
        plane.scatter_(1, self.unique[points], values)
        plane = plane.view(-1, *self.shape)
        image = torch.real(ifft2c(plane + reflect(plane).conj()))
        return image + torch.einsum("br,rhw->bhw", (trust * weights)[..., 0].float(), self.factors)

    def _seen_share(self, count: Tensor) -> Tensor:
        """The share (B,) of the prior's variance at points that were sampled."""
        return torch.where(count > 0, self.prior, 0).sum((-2, -1)) / self.prior.sum()

    def _nearest_level(self, count: Tensor) -> Tensor:
        return (self._seen_share(count)[:, None] - self.levels).abs().argmin(1)

    def _choose_shares(self, audit_set: AuditSet) -> None:
        """Set ``levels`` and, for each, the a with the best mean PSNR on held-out audit images."""
        images, generator = audit_set.images, audit_set.generator
        scenarios = audit_set.scenarios.with_control()
        seen, quality = [], []
        for kept, held in audit_set.folds(_N_FOLDS):
            self._take(spread(images[kept], generator))
            trials = images[held[np.linspace(0, len(held) - 1, _N_TRIALS).round().astype(int)]]
            measurement, masks = scenarios.each(trials, generator)
            seen.append(self._seen_share(masks + reflect(masks)))
            quality.append(self._try(SHARES, measurement, masks, trials))
        level = torch.cat(seen)
        bins = torch.stack(level.argsort().chunk(N_LEVELS))
        best = torch.cat(quality, 1)[:, bins].mean(2).argmax(0)
        self.levels, self.shares = level[bins].mean(1), level.new_tensor(SHARES)[best]

    def _try(
        self, shares: Sequence[float], measurement: Tensor, masks: Tensor, truth: Tensor
    ) -> Tensor:
        """PSNR (len(shares), B) with each a in turn."""
        quality = []
        for share in shares:
            self.shares = torch.full_like(self.shares, share)
            quality.append(psnr(self.reconstruct(measurement, masks), truth))
        return torch.stack(quality)

    def _take(self, known: Spread) -> None:
        self.mean, self.factors = known.mean, known.factors
        self.lost, self.prior = known.lost, known.prior
        self.derive()

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        factors = arrays.get("factors")
        n_factors = -1 if factors is None or factors.ndim != 3 else len(factors)
        if not 0 <= n_factors <= MAX_RANK:
            expected = f"factors (r <= {MAX_RANK}, H, W)"
            raise InputError("attack 'lmmse'", expected, f"{n_factors} of them", "fit it again")
        for name, least in (("prior", 1e-12), ("noise_std", 1e-6), ("lost", 0), ("shares", 0)):
            if name in arrays and not (arrays[name] >= least).all():
                raise InputError("attack 'lmmse'", f"{name} >= {least}", "less", "fit it again")
        self.factors = torch.zeros(n_factors, *self.shape, device=self.mean.device)

    def derive(self) -> None:
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
