"""Gradient inversion: an image out of one site's update.

Cosine matching of the update by Adam on the images (Geiping et al. 2020). In place of a total
variation prior the search runs in coordinates in which images of the audit set are white, from
their mean: it finds coarse structure first and starts at the best answer without an update. What
an update gives away is at most what was measured, so LMMSE finishes the job, and the report holds
both ends: no update at all, and the measurement itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from infomri_core.images import psnr, ssim
from infomri_core.kspace import fft2c, ifft2c
from infomri_core.privacy.attacks.lmmse import LMMSE
from infomri_core.privacy.updates import Protection, Update, cosine, local_update, matched
from infomri_core.seeds import numpy_generator, torch_generator
from infomri_core.tasks.classification import Classification

STEP = 0.03
PRIOR_WEIGHT = 1e-4
MATCHED = 0.01
Expired = Callable[[], bool]


@final
@dataclass(frozen=True)
class Case:
    """One setting of the attack: ``local_steps`` of SGD on ``batch_size`` images."""

    batch_size: int
    local_steps: int = 1
    protection: Protection | None = None


@final
@dataclass(frozen=True)
class Found:
    """Images (B, H, W) in [0, 1], and 1 - cosine of their update at the start and at the end."""

    images: Tensor
    mismatch_start: float
    mismatch: float


def invert(
    model: Classification,
    update: Update,
    labels: Tensor,
    masks: Tensor,
    noise: Tensor,
    prior: LMMSE,
    n_steps: int,
    expired: Expired = lambda: False,
) -> Found:
    """The images whose measurements ``masks`` F x + ``noise``, (K, B, H, W) both, give the update
    that is nearest in cosine, with a white prior; the iterate of the least objective.

    Masks and noise are known, the worst case: without DP they follow from the names of study,
    site and round, all of which the server knows.
    """
    z = torch.zeros(masks.shape[1:], device=masks.device).requires_grad_()
    root = prior.prior.sqrt()

    def images() -> Tensor:
        return prior.mean + ifft2c(root * fft2c(z)).real

    optimizer = torch.optim.Adam([z], lr=STEP)
    best, least, mismatches = images().detach(), float("inf"), [float("inf")]
    for _ in range(n_steps):
        if expired():
            break
        mismatch = 1 - cosine(matched(model, masks * fft2c(images()) + noise, labels), update)
        loss = mismatch + PRIOR_WEIGHT * z.square().mean()
        mismatches.append(mismatch.item())
        if loss.item() < least:
            best, least = images().detach(), loss.item()
        (z.grad,) = torch.autograd.grad(loss, [z])
        optimizer.step()
    return Found(best.clamp(0, 1), mismatches[min(1, len(mismatches) - 1)], min(mismatches))


def infer_label(update: Update, exclusive: bool) -> Tensor:
    """Labels (1, K) of a batch of one: the sign of the head's bias gradient p - t, exact."""
    bias = update[-1]
    if exclusive:
        return torch.nn.functional.one_hot(bias.argmin(), len(bias))[None].to(bias)
    return (bias < 0).to(bias)[None]


def audit_case(
    model: Classification,
    case: Case,
    images: Tensor,
    labels: Tensor,
    prior: LMMSE,
    ratio: float,
    learning_rate: float,
    n_steps: int,
    seed: int,
    expired: Expired = lambda: False,
) -> dict[str, Any]:
    """Attack the update of random ``images`` (n, H, W) in one setting; PSNR and SSIM as JSON.

    ``prior`` is fitted on other people. Best of the start, the images found and LMMSE on their
    k-space, by the truth: the auditor's view. A batch of one has its label inferred; larger ones
    have theirs given. ``matched`` is false where the search ended far from the update: that
    attack was weak, and its figures are no evidence of privacy.
    """
    generator = torch_generator(seed, "inversion", case.batch_size, device=images.device)
    order = numpy_generator(seed, "inversion-batch", case.batch_size)
    size = min(case.batch_size, len(images))
    rows = torch.from_numpy(order.choice(len(images), size, replace=False))
    truth, known = images[rows], labels[rows]
    with torch.no_grad():
        masks = torch.stack([model.draw(ratio, size, generator) for _ in range(case.local_steps)])
        y = torch.stack([model.measure(truth, mask, generator) for mask in masks])
    update = local_update(model, y, known, learning_rate, case.protection, generator)
    if size == 1:
        known = infer_label(update, model.exclusive)
    found = invert(model, update, known, masks, y - masks * fft2c(truth), prior, n_steps, expired)
    union = masks.amax(0)
    start = prior.mean.expand_as(truth)
    finished = prior.reconstruct(union * fft2c(found.images), union)
    best = max((start, found.images, finished), key=lambda g: float(psnr(g, truth).mean()))
    combined = y.sum(0) / masks.sum(0).clamp_min(1)
    return {
        "batch_size": size,
        "local_steps": case.local_steps,
        "clip": case.protection.clip if case.protection else None,
        "noise_multiplier": case.protection.noise_multiplier if case.protection else None,
        "psnr": float(psnr(best, truth).mean()),
        "ssim": float(ssim(best, truth).mean()),
        "psnr_without_update": float(psnr(start, truth).mean()),
        "psnr_of_measurement": float(psnr(prior.reconstruct(combined, union), truth).mean()),
        "mismatch": _finite(found.mismatch),
        "matched": found.mismatch < MATCHED,
        "ran_out_of_time": expired(),
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
