"""How true a predicted variance is of the errors of a reconstruction, image by image.

``mean`` and ``log_variance`` are of q(x | y), ``target`` is x, all (B, H, W).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

N_BINS = 8
"""Bins of the predicted standard deviation, each twice as high as the one before; the outer ones
are open."""
LOWEST_BIN = 0.005
_SPARSIFIED = 20


def negative_log_likelihood(mean: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
    """-log q(x | y) in nats a pixel, (B,): InfoMRI, Eq. 42, with the half and the constant that it
    leaves out."""
    squared = (target - mean).square() * torch.exp(-log_variance)
    return 0.5 * (squared + log_variance + math.log(2 * math.pi)).mean((-2, -1))


def coverage(mean: Tensor, log_variance: Tensor, target: Tensor, n_std: float) -> Tensor:
    """Share of pixels whose error is within ``n_std`` standard deviations, (B,)."""
    within = (target - mean).abs() < n_std * (log_variance / 2).exp()
    return within.to(mean.dtype).mean((-2, -1))


def binned(mean: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
    """By bin of the predicted standard deviation the share of pixels, and their squared error and
    variance, both over all pixels of the image: (B, ``N_BINS``, 3). What ENCE is made of
    (:func:`~infomri_core.summaries.posterior_summary.ence`); bins that do not depend on the data
    let sums of several sites be added."""
    variance = log_variance.exp()
    place = ((log_variance / 2 - math.log(LOWEST_BIN)) / math.log(2)).floor() + 1
    one_hot = torch.nn.functional.one_hot(place.clamp(0, N_BINS - 1).long(), N_BINS)
    values = torch.stack((torch.ones_like(mean), (target - mean).square(), variance), dim=-1)
    flat = one_hot.flatten(1, 2).to(mean.dtype).mT @ values.flatten(1, 2)
    return flat / mean[0].numel()


def spearman(mean: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
    """Rank correlation of |error| and predicted standard deviation over each image's pixels,
    (B,); 0 where one of the two is the same everywhere."""
    found = []
    for error, spread in zip((target - mean).abs().flatten(1), log_variance.flatten(1)):
        a, b = (_ranked(values).rank for values in (error, spread))
        a, b = a - a.mean(), b - b.mean()
        found.append((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))
    return torch.stack(found).to(mean.dtype)


def ause(mean: Tensor, log_variance: Tensor, target: Tensor) -> Tensor:
    """Area under the sparsification error, (B,): the mean over shares 0, 5, .. 95 % of the RMSE of
    what is left without the share of largest predicted variance, less the RMSE without that of
    largest error, over the RMSE of all (Ilg et al. 2018). 0 is the order of the errors themselves;
    pixels of one variance count as their mean."""
    found = []
    for squared, spread in zip((target - mean).square().flatten(1), log_variance.flatten(1)):
        ranked = _ranked(spread)
        total = torch.zeros(len(squared), dtype=torch.float64, device=mean.device)
        total = total.index_add(0, ranked.group, squared.double())
        by_spread = (total / ranked.sizes.clamp_min(1))[ranked.group][ranked.order]
        by_error = squared.double()[_ranked(squared).order]
        curves = [_kept_rmse(values) for values in (by_spread, by_error)]
        found.append((curves[0] - curves[1]).mean() / curves[1][0].clamp_min(1e-12))
    return torch.stack(found).to(mean.dtype)


def _kept_rmse(ascending: Tensor) -> Tensor:
    """RMSE of the first 100, 95, .. 5 % of squared errors (n,)."""
    n = len(ascending)
    kept = [max(1, n * (_SPARSIFIED - k) // _SPARSIFIED) for k in range(_SPARSIFIED)]
    total = ascending.cumsum(0)
    return torch.stack([(total[k - 1] / k).clamp_min(0).sqrt() for k in kept])


class _Ranked(NamedTuple):
    """Of values (n,): their ascending ``order``; each one's ``rank``, equal ones sharing it, and
    the ``group`` of equal values that it belongs to, by number; and how many belong to each group
    number up to n."""

    order: Tensor
    rank: Tensor
    group: Tensor
    sizes: Tensor


def _ranked(values: Tensor) -> _Ranked:
    """Equal values, or values in order, are sorted in a fraction of the time of others, which
    would tell what an image shows to anyone who chose the weights. So what is compared is shuffled
    first, and equal values are told apart by chance; nothing of the result depends on that."""
    n, flat = len(values), values.detach().float().cpu().numpy() + 0.0
    chance = np.random.default_rng()
    bits = flat.view(np.int32).astype(np.int64)
    key = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) * 2**32 + chance.permutation(n)
    shuffled = chance.permutation(n)
    order = shuffled[key[shuffled].argsort()]
    ascending = flat[order]
    first = np.concatenate((np.zeros(min(n, 1), bool), ascending[1:] != ascending[:-1]))
    group = np.empty(n, np.int64)
    group[order] = first.cumsum()
    sizes = np.bincount(group, minlength=n)
    rank = (sizes.cumsum() - (sizes - 1) / 2)[group]
    return _Ranked(*(torch.from_numpy(a).to(values.device) for a in (order, rank, group, sizes)))
