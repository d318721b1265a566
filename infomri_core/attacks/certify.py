"""An attacker is certified before it is believed: can it rebuild what can be rebuilt?"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infomri_core.attacks.audit_set import CONTROL_RATIO, Scenarios, control_sampler
from infomri_core.attacks.base import Attack
from infomri_core.attacks.networks.learned import LearnedAttack, Progress
from infomri_core.physics.images import psnr
from infomri_core.sampling.policy import Constraint

TOLERANCE_DB = 0.5
CONVERGED_DB = 0.1
LAST_PART = 0.1
MAX_IMAGES = 256


@dataclass(frozen=True)
class Certificate:
    """How an attack did on the control mask, 4x variable density.

    An attack that did not pass is weak: what it fails to rebuild says nothing about privacy.

    Args:
        psnr: Its mean PSNR, dB.
        psnr_lmmse: That of LMMSE, dB.
        passed: Strong and converged.
        strong: At least LMMSE minus 0.5 dB.
        converged: The last tenth of its training brought less than 0.1 dB.
        last_gain: What that brought, dB; None for an attack that is not trained.
        size_curve: Pairs of how many audit images it was fitted on, and its PSNR.
    """

    psnr: float
    psnr_lmmse: float
    passed: bool
    strong: bool = True
    converged: bool = True
    last_gain: float | None = None
    size_curve: tuple[tuple[int, float], ...] = ()


@torch.no_grad()
def certify(
    attack: Attack,
    reference: Attack,
    images: Tensor,
    noise_std: float,
    generator: torch.Generator,
    constraint: Constraint = "2d",
) -> Certificate:
    """Compare an attack with LMMSE under the control mask, on the same measurements.

    Args:
        attack: Fitted.
        reference: LMMSE, fitted on the same audit set.
        images: (n, H, W), of which at most 256, evenly spread, are used. They should be ones that
            neither was fitted on: a fitted covariance flatters itself on its own images.
        noise_std: Standard deviation of the real part of the noise and of its imaginary part.
        generator: Of masks and noise.
        constraint: Points ("2d") or whole columns ("1d").
    """
    state = generator.get_state()
    ours = control_psnr(attack, images, noise_std, generator, constraint)
    generator.set_state(state)
    theirs = control_psnr(reference, images, noise_std, generator, constraint)
    gain = last_gain(attack.history) if isinstance(attack, LearnedAttack) else None
    strong, converged = ours >= theirs - TOLERANCE_DB, gain is None or gain < CONVERGED_DB
    return Certificate(ours, theirs, strong and converged, strong, converged, gain)


@torch.no_grad()
def control_psnr(
    attack: Attack,
    images: Tensor,
    noise_std: float,
    generator: torch.Generator,
    constraint: Constraint = "2d",
) -> float:
    """Mean PSNR (dB) under the control mask; the arguments are those of ``certify``."""
    rows = torch.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).round().long()
    chosen = images[rows.to(images.device)]
    control = control_sampler(attack.shape, constraint)
    scenarios = Scenarios.of(control, [CONTROL_RATIO], noise_std, images.device)
    measurement, masks = scenarios.each(chosen, generator)
    return float(psnr(attack.reconstruct(measurement, masks), chosen).mean())


def last_gain(history: Sequence[Progress]) -> float | None:
    """What the last tenth of training added to the best validation PSNR so far.

    Args:
        history: Of the training, by step.

    Returns:
        dB; None without a history, infinite when nothing was measured before the last tenth.
    """
    if not history:
        return None
    limit = (1 - LAST_PART) * history[-1].step
    before = max((p.validation_psnr for p in history if p.step <= limit), default=-math.inf)
    return max(p.validation_psnr for p in history) - before


def void_because(
    strongest: Iterable[tuple[str, str]], certificates: Mapping[str, Certificate]
) -> str:
    """Why the audit is void, or ''.

    It is void where the strongest attack has no certificate or failed the control mask: its figure
    is no bound.

    Args:
        strongest: Pairs of a place in words and the attack that rebuilt best there.
        certificates: By attack.
    """
    found = list(strongest)
    if not found:
        return "No attack could be scored."
    if not certificates:
        return "No attack could be certified: the LMMSE reference failed."
    failed = [
        (where, name)
        for where, name in found
        if name not in certificates or not certificates[name].strong
    ]
    if not failed:
        return ""
    names = ", ".join(sorted({name for _, name in failed}))
    places = ", ".join(where for where, _ in failed[:4]) + (", ..." if len(failed) > 4 else "")
    return (
        f"The strongest attack ({names}; {places}) did not rebuild a control mask that can be "
        f"rebuilt to within {TOLERANCE_DB:g} dB of LMMSE. Its figures bound nothing."
    )
