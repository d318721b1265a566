"""What the weights and updates of a study give away: every attack on them in one bounded audit.

Nothing here sees a site's data: targets are trained, and updates made, on the study centre's own
public patients, with the study's plan. That answers what such weights *can* give away.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.arms.weights import unflatten
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.linear.lmmse import LMMSE
from infomri_core.dp_audit.canaries_training import audit_dp
from infomri_core.fitting.loop import Diverged
from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.plan.plan import Arm, Plan
from infomri_core.randomness.seeds import numpy_generator, torch_generator
from infomri_core.system.errors import Cancelled
from infomri_core.weight_attacks.inversion import Case, audit_case
from infomri_core.weight_attacks.leakage import audit_labels, audit_sites
from infomri_core.weight_attacks.membership import audit_membership
from infomri_core.weight_attacks.updates import Protection

MEMBERSHIP_STEPS = 120
INVERSION_STEPS = 400
DP_UNTIL = 0.3
MEMBERSHIP_UNTIL = 0.6
DP_LIKE = Protection(clip=1.0, noise_multiplier=1.0)
CONVINCING_DB = 3.0
Part = Callable[[], dict[str, Any]]


def audit_weights(
    plan: Plan,
    flat_weights_by_arm: Mapping[str, np.ndarray],
    images: Tensor,
    targets: Tensor,
    patients: np.ndarray,
    seed: int,
    budget_seconds: float,
    epsilon: float | None = None,
) -> dict[str, Any]:
    """Attacks on weights and updates, as JSON: ``dp``, ``membership``, ``inversion``,
    ``label_inference``, ``site_inference``; each says its arm, sizes and seed.

    ``images`` (n, H, W), the task's ``targets`` (n, ...) and ``patients`` (n,) are the audit
    set; ``epsilon`` is the study's. The first arm given stands for all: arms share network and
    data. Work that the budget does not cover is left out and said so; a run that the budget did
    not cut short repeats.
    """
    started = time.monotonic()

    def expired(share: float = 1.0) -> bool:
        return time.monotonic() - started > share * budget_seconds

    name = next(iter(flat_weights_by_arm))
    model = _trained(plan, name, flat_weights_by_arm[name], images.device)
    ratio = 1 / min(plan.measurement.accelerations)
    batch = plan.training.batch_size
    variance = KSpaceMoments.from_kspace(fft2c(images.double())).variance.float()
    shared = (model, images, targets, patients, ratio)
    training = (plan, plan.arm(name), images, targets, patients, variance, seed)
    parts: dict[str, Part] = {
        "label_inference": lambda: audit_labels(*shared, batch, seed),
        "site_inference": lambda: audit_sites(*shared, batch, seed),
        "dp": lambda: _dp(*training, epsilon, lambda: expired(DP_UNTIL)),
        "membership": lambda: audit_membership(
            *training,
            n_steps=min(plan.total_steps, MEMBERSHIP_STEPS),
            cancelled=lambda: expired(MEMBERSHIP_UNTIL),
        ),
        "inversion": lambda: audit_inversion(plan, *shared, seed, expired),
    }
    order = ("dp", "membership", "inversion", "label_inference", "site_inference")
    done = {key: {"arm": name, "seed": seed} | _run(part, expired) for key, part in parts.items()}
    return {key: done[key] for key in order}


def cases(plan: Plan) -> tuple[Case, ...]:
    """The settings in which updates are inverted: the control first, then from the attacker's
    best case to harder ones, and under the plan's DP-SGD (noise 1 at clip 1 if it has none)."""
    dp = DP_LIKE
    if plan.privacy is not None:
        dp = Protection(plan.privacy.clip, plan.privacy.noise_multiplier)
    return (
        Case(1, control=True),
        Case(1),
        Case(1, protection=dp),
        Case(2),
        Case(4),
        Case(8),
        Case(8, protection=dp),
        Case(1, local_steps=2),
        Case(1, local_steps=4),
        Case(1, knows_masks=False),
    )


def audit_inversion(
    plan: Plan,
    model: SampledModel,
    images: Tensor,
    targets: Tensor,
    patients: np.ndarray,
    ratio: float,
    seed: int,
    expired: Callable[[float], bool],
    n_steps: int = INVERSION_STEPS,
) -> dict[str, Any]:
    """Gradient inversion in every setting of :func:`cases`: half the patients are the
    attacker's, the others are attacked. ``convincing`` says whether the control was won.
    ``expired(share)`` is true once that share of the time is spent."""
    names = numpy_generator(seed, "inversion-patients").permutation(np.unique(patients))
    public = np.isin(patients, names[: len(names) // 2])
    if len(names) < 2:
        return {"note": "needs two patients"}
    generator = torch_generator(seed, "inversion-prior", device=images.device)
    known, other = (torch.from_numpy(np.flatnonzero(rows)) for rows in (public, ~public))
    prior = LMMSE(plan.task.shape).to(images.device)
    measured = (model.sampler, [ratio], plan.measurement.noise_std, generator, patients[public])
    prior.fit(AuditSet.of(images[known], *measured))
    wanted, done = cases(plan), list[dict[str, Any]]()
    for k, case in enumerate(wanted):
        limit = MEMBERSHIP_UNTIL + (1 - MEMBERSHIP_UNTIL) * (k + 1) / len(wanted)
        if expired(limit):
            break
        done.append(
            audit_case(
                *(model, case, images[other], targets[other], prior, ratio),
                *(plan.training.learning_rate, n_steps, seed, lambda limit=limit: expired(limit)),
            )
        )
    gains = [c["psnr"] - c["psnr_without_update"] for c in done if c["control"]]
    return {
        "cases": done,
        "cases_left_out": len(wanted) - len(done),
        "convincing": any(gain >= CONVINCING_DB for gain in gains),
        "acceleration": round(1 / ratio, 6),
        "evaluations": n_steps,
    }


def _dp(
    plan: Plan,
    arm: Arm,
    images: Tensor,
    targets: Tensor,
    patients: np.ndarray,
    variance: Tensor,
    seed: int,
    epsilon: float | None,
    cancelled: Callable[[], bool],
) -> dict[str, Any]:
    if plan.privacy is None:
        return {"note": "the plan has no [privacy]: there is no epsilon to audit"}
    return audit_dp(
        plan, arm, images, targets, patients, variance, seed, epsilon, cancelled=cancelled
    )


def _trained(plan: Plan, name: str, flat: np.ndarray, device: torch.device) -> SampledModel:
    model = build_model(plan, plan.arm(name)).to(device)
    unflatten(model, np.asarray(flat))
    return model.eval()


def _run(part: Part, expired: Callable[[], bool]) -> dict[str, Any]:
    if expired():
        return {"note": "left out: the audit's time limit was reached"}
    try:
        return part()
    except Cancelled:
        return {"note": "left out: it did not end within its share of the time"}
    except Diverged:
        return {"note": "left out: the simulated training diverged"}
