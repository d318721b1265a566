"""An attacker is certified before it is believed: can it rebuild what can be rebuilt?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from infomri_core.images import psnr
from infomri_core.plan import Constraint
from infomri_core.privacy.attacks.base import Attack
from infomri_core.privacy.attacks.scenarios import CONTROL_RATIO, Scenarios, control_policy

TOLERANCE_DB = 0.5
MAX_IMAGES = 256


@dataclass(frozen=True)
class Certificate:
    """Mean PSNR (dB) of an attack and of LMMSE on the control mask, 4x variable density.

    An attack that did not pass is weak: what it fails to rebuild says nothing about privacy.
    """

    psnr: float
    psnr_lmmse: float
    passed: bool


@torch.no_grad()
def certify(
    attack: Attack,
    reference: Attack,
    images: Tensor,
    noise_std: float,
    generator: torch.Generator,
    constraint: Constraint = "2d",
) -> Certificate:
    """Compare ``attack`` with the LMMSE ``reference`` on images (n, H, W) under the control mask.

    Both see the same measurements. ``images`` should be ones that neither was fitted on: a fitted
    covariance flatters itself on its own images. At most 256, evenly spread, are used.
    """
    rows = torch.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).round().long()
    chosen = images[rows.to(images.device)]
    policy = control_policy(attack.shape, constraint)
    scenarios = Scenarios.of(policy, [CONTROL_RATIO], noise_std, images.device)
    measurement, masks = scenarios.each(chosen, generator)
    ours, theirs = (
        float(psnr(a.reconstruct(measurement, masks), chosen).mean()) for a in (attack, reference)
    )
    return Certificate(ours, theirs, ours >= theirs - TOLERANCE_DB)
