"""What measuring more or less of one conjugate pair changes, for a jointly Gaussian image.

A real image has one complex number a pair of k-space points i, i*: two coordinates z = scale * k,
scale sqrt(2), or 1 where i = i*. They are Gaussian with covariance U U^T + diag(d): U are the
leading factors of the audit set's covariance, d what these leave of each variance. A pair sampled
n times (0, 1, 2) is seen with precision n x, x = 1 / (scale sigma)^2.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from infomri_core.physics.kspace import fft2c, reflect

_FLOOR = 1e-9


@final
@dataclass(frozen=True)
class Pairs:
    """Some pairs (p,), each as if it had not been sampled itself: ``covariance`` S of its two
    coordinates and ``squared``, its block of the squared covariance of all, (p, 2, 2); ``count``
    (p,) how often it was, ``precision`` (p,) of one sample."""

    index: Tensor
    count: Tensor
    precision: Tensor
    covariance: Tensor
    squared: Tensor

    def log_det(self, count: Tensor | int) -> Tensor:
        """log det(I + n x S), (p,)."""
        return _determinant(self._seen(count)).log()

    def removed(self, count: Tensor | int) -> Tensor:
        """n x tr[(I + n x S)^-1 T], (p,): by how much n samples of a pair lower the sum of all
        posterior variances."""
        seen, T = self._seen(count), self.squared
        adjugate = seen[:, 1, 1] * T[:, 0, 0] + seen[:, 0, 0] * T[:, 1, 1]
        trace = (adjugate - 2 * seen[:, 0, 1] * T[:, 0, 1]) / _determinant(seen)
        return count * self.precision * trace

    def _seen(self, count: Tensor | int) -> Tensor:
        scaled = (count * self.precision)[:, None, None] * self.covariance
        return scaled + torch.eye(2, dtype=scaled.dtype, device=scaled.device)


@final
@dataclass(frozen=True)
class Posterior:
    """After one measurement: the ``information`` (nats) that it gives of the image, the sum of
    squared errors ``error`` that the best estimate leaves, and all pairs, sampled or not."""

    information: Tensor
    error: Tensor
    sampled: Pairs
    others: Pairs


@final
class GaussianImages:
    """Images of ``variance`` (2, H, W) in k-space, correlated as ``factors`` (q, H, W) say."""

    def __init__(self, variance: Tensor, factors: Tensor, noise_std: float) -> None:
        height, width = variance.shape[-2:]
        index = torch.arange(height * width, device=variance.device)
        self.partner = reflect(index.view(height, width)).flatten()
        self.own = self.partner == index
        half = index[index <= self.partner]
        self.pair = torch.searchsorted(half, torch.minimum(index, self.partner))
        self._half = half
        self.n_pairs = len(half)
        scale = torch.where(self.own[half], 1.0, 2.0**0.5).to(variance.dtype)
        k = torch.view_as_real(fft2c(factors.to(variance.dtype))).flatten(1, 2)[:, half]
        self._rows = (k * scale[:, None]).permute(1, 2, 0).contiguous()
        total = (scale.square() * variance.flatten(1)[:, half]).T
        left = (total - self._rows.square().sum(2)).clamp_min(_FLOOR * float(total.max()))
        left[self.own[half], 1] = 0  # A point that is its own partner has no imaginary part.
        self._left = left
        self._precision = 1 / (scale * noise_std).square()
        self._gram = _gram(self._rows.double(), torch.ones_like(left).double())

    def posterior(self, mask: Tensor) -> Posterior:
        """After a measurement through ``mask`` (H, W) of zeros and ones."""
        flat = mask.flatten()
        count = (flat + flat[self.partner] * ~self.own)[self._half]
        seen, unseen = count.nonzero()[:, 0], (count == 0).nonzero()[:, 0]
        rows, left = self._rows[seen].double(), self._left[seen].double()
        weight = (count[seen] * self._precision[seen]).double()[:, None]
        kept = 1 / (1 + weight * left)
        root = torch.linalg.cholesky(_gram(rows, weight * kept).add_(_eye(rows)))
        spread = torch.cholesky_inverse(root)
        rest = self._gram - _gram(rows, 1 - kept.square())
        crossed = spread @ rest @ spread
        information = root.diagonal().log().sum() - kept.log().sum() / 2
        error = self._left.double().sum() - (left * (1 - kept)).sum() + (spread * rest).sum()
        S, R = _blocks(rows, left, kept, spread, crossed)
        # A pair's own samples are taken back: S^-1 loses their precision, and R what they removed.
        undo = torch.linalg.inv(_eye(S) - weight[:, :, None] * S)
        sampled = Pairs(seen, count[seen], weight[:, 0] / count[seen], S @ undo, undo @ R @ undo)
        rows, left = self._rows[unseen], self._left[unseen]
        others = _blocks(rows, left, torch.ones_like(left), spread, crossed)
        nothing = Pairs(unseen, count[unseen], self._precision[unseen], *others)
        return Posterior(information, error, sampled, nothing)


def _blocks(
    rows: Tensor, left: Tensor, kept: Tensor, spread: Tensor, crossed: Tensor
) -> tuple[Tensor, Tensor]:
    """Of each pair the block of the posterior covariance P and of P^2, (p, 2, 2).

    P = K U C U^T K + E with C = ``spread``, K = diag(``kept``), E = K diag(``left``), and
    ``crossed`` = C U^T K^2 U C.
    """
    shared = rows * kept[..., None]
    own = left * kept
    P = (shared @ spread.to(rows.dtype)) @ shared.mT
    squared = (shared @ crossed.to(rows.dtype)) @ shared.mT
    squared = squared + P * (own[:, :, None] + own[:, None, :]) + torch.diag_embed(own.square())
    return P + torch.diag_embed(own), squared


def _gram(rows: Tensor, weights: Tensor) -> Tensor:
    """U^T diag(w) U of rows (p, 2, q) and weights (p, 2) or (p, 1)."""
    return (rows * weights[..., None]).flatten(0, 1).T @ rows.flatten(0, 1)


def _eye(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def _determinant(matrix: Tensor) -> Tensor:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1].square()
