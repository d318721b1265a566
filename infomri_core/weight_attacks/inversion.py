"""Gradient inversion: an image out of one site's update.

Three attacks. Where the batch is small against the network, linear algebra reads each image's
*activations* deep inside it off the update (:mod:`inversion_activations`), and the *spans* of all
of them (:mod:`inversion_spans`), and L-BFGS finds images that have them. Elsewhere *matching*:
the cosine of the update (Geiping et al. 2020) by Adam. All search in coordinates in which images
of the audit set are white, from near their mean, in place of a total variation prior. What an
update gives away is at most what was measured, so LMMSE finishes the job, and the report holds
both ends: no update at all, and the measurement itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from infomri_core.arms.sampled_model import SampledModel
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.physics.images import psnr, ssim
from infomri_core.physics.kspace import fft2c
from infomri_core.randomness.seeds import numpy_generator, torch_generator
from infomri_core.weight_attacks.inversion_search import Expired, InversionResult, Target, invert
from infomri_core.weight_attacks.updates import Protection, Update, local_update


@final
@dataclass(frozen=True)
class Case:
    """One setting: ``local_steps`` of SGD on ``batch_size`` images, by an attacker who knows the
    site's masks and noise or does not. ``control``: all of k-space is measured; what the
    attack reaches there says whether it is one."""

    batch_size: int
    local_steps: int = 1
    protection: Protection | None = None
    knows_masks: bool = True
    control: bool = False


def infer_label(update: Update, exclusive: bool) -> Tensor:
    """Labels (1, K) of a batch of one: the sign of the head's bias gradient p - t, exact."""
    bias = update[-1]
    if exclusive:
        return torch.nn.functional.one_hot(bias.argmin(), len(bias))[None].to(bias)
    return (bias < 0).to(bias)[None]


def audit_case(
    model: SampledModel,
    case: Case,
    images: Tensor,
    targets: Tensor,
    prior: LMMSE,
    ratio: float,
    learning_rate: float,
    n_steps: int,
    seed: int,
    expired: Expired = lambda: False,
) -> dict[str, Any]:
    """Attack the update of random ``images`` (n, H, W) in one setting; PSNR and SSIM as JSON.

    ``prior`` is fitted on other people. The best of all searches and their :func:`_answers` by the
    truth, images in the order that suits best: the auditor's view. The label of a batch of one
    is inferred; all other targets are given. ``matched`` is false where no search ended near the
    update: the attack was weak, and its figures are no evidence of privacy.
    """
    generator = torch_generator(seed, "inversion", case.batch_size, device=images.device)
    order = numpy_generator(seed, "inversion-batch", case.batch_size)
    size, n_local = min(case.batch_size, len(images)), case.local_steps
    rows = torch.from_numpy(order.choice(len(images), size, replace=False))
    truth, known = images[rows], targets[rows]
    with torch.no_grad():
        masks = torch.stack([model.masks_for(truth, ratio, generator) for _ in range(n_local)])
        masks = torch.ones_like(masks) if case.control else masks
        y = torch.stack([model.measure(truth, mask, generator) for mask in masks])
    update = local_update(model, y, known, learning_rate, case.protection, generator)
    if size == 1 and model.task.classes is not None:
        known = infer_label(update, model.task.classes.exclusive)
    noise = y - masks * fft2c(truth)
    target = Target(model, update, known, masks, noise, prior, case.knows_masks)
    start = prior.mean.expand_as(truth)
    tried = invert(target, n_steps, generator, expired)
    found, best = _best(tried, target, start, truth)
    union, combined = masks.amax(0), y.sum(0) / masks.sum(0).clamp_min(1)
    return {
        "batch_size": size,
        "local_steps": n_local,
        "control": case.control,
        "knows_masks": case.knows_masks,
        "clip": case.protection.clip if case.protection else None,
        "noise_multiplier": case.protection.noise_multiplier if case.protection else None,
        "attack": found.attack,
        "psnr": float(psnr(best, truth).mean()),
        "psnr_of_the_best_image": float(psnr(best, truth).max()),
        "ssim": float(ssim(best, truth).mean()),
        "psnr_without_update": float(psnr(start, truth).mean()),
        "psnr_of_measurement": float(psnr(prior.reconstruct(combined, union), truth).mean()),
        "mismatch": found.mismatch if np.isfinite(found.mismatch) else None,
        "matched": any(search.matched for search in tried),
        "ran_out_of_time": expired(),
    }


def _best(
    tried: Sequence[InversionResult], target: Target, start: Tensor, truth: Tensor
) -> tuple[InversionResult, Tensor]:
    """The search that came nearest to the ``truth``, and its images; ``start`` if none did."""
    answers = [
        (found, _in_order(answer, truth))
        for found in tried
        for answer in (start, *_answers(found, target))
    ]
    return max(answers, key=lambda answer: float(psnr(answer[1], truth).mean()))


@torch.no_grad()
def _answers(found: InversionResult, target: Target) -> Iterator[Tensor]:
    """Images (B, H, W) in [0, 1]: as found, and LMMSE of the k-space found, each as it is and
    with the energy of a typical image: the network's normalisation hides an image's scale.

    Who does not know the masks takes the largest values of k-space, as many as the ratio says,
    for those that were measured.
    """
    prior, kspace, masks = target.prior, _one_a_sample(found.kspace), target.masks.amax(0)
    if not target.knows_masks:
        masks = _largest(kspace.abs(), int(masks[0].sum()))
    energy = (prior.prior + fft2c(prior.mean).abs().square()) * masks
    own = (kspace.abs().square() * masks).sum((-2, -1), keepdim=True).clamp_min(1e-12)
    scale = (energy.sum((-2, -1), keepdim=True) / own).sqrt()
    for factor in (torch.ones_like(scale), scale):
        yield prior.reconstruct(factor * masks * kspace, masks).clamp(0, 1)
        if found.images is not None:
            yield (factor * found.images).clamp(0, 1)


def _one_a_sample(kspace: Tensor) -> Tensor:
    return kspace.mean(0) if kspace.ndim == 4 else kspace


def _largest(values: Tensor, n: int) -> Tensor:
    threshold = values.flatten(1).topk(n, dim=1).values[:, -1]
    return (values >= threshold[:, None, None]).float()


def _in_order(answer: Tensor, truth: Tensor) -> Tensor:
    """The images of ``answer`` in the order that suits the truth best: an update has none."""
    table = torch.stack([psnr(image.expand_as(truth), truth) for image in answer])
    _, columns = linear_sum_assignment(-table.cpu().numpy().T)
    return answer[torch.from_numpy(columns)]
