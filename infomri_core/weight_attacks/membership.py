"""Membership inference: was this slice in the training data? (RMIA and LiRA)

RMIA (Zarifzadeh, Liu and Shokri 2024) compares how much likelier x is under the target than under
a reference model with the same ratio of population samples z. LiRA (Carlini et al. 2022, offline)
asks how unusual the target's confidence is among reference models that never saw x.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.dp.dp import PrivateGradients, units_of
from infomri_core.fitting.loop import Stretch
from infomri_core.plan.plan import Arm, Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.randomness.seeds import derive_seed, numpy_generator, torch_generator
from infomri_core.suppression.base import Penalty
from infomri_core.suppression.factors import audit_suppression
from infomri_core.training.fit import Fetch, Gradients, train_steps
from infomri_core.weight_attacks.roc import separation

N_DRAWS = 8
OFFLINE_SLOPE = 0.3
GAMMA = 1.0
MIN_LIRA_REFERENCES = 2
N_CONTROL = 12
CONTROL_STEPS = 120
CONTROL_LEARNING_RATE = 3e-3
Floats = npt.NDArray[np.float64]


@torch.no_grad()
def log_confidence(
    model: SampledModel,
    images: Tensor,
    targets: Tensor,
    ratio: float,
    generator: torch.Generator,
    n_draws: int = N_DRAWS,
) -> Floats:
    """log p(targets | x) (n,) of images (n, H, W) under ``model``, its mean over draws.

    The attacker holds x itself and measures it ``n_draws`` times with masks and noise of its own.
    """
    was_training = model.training
    model.eval()
    total = torch.zeros(len(images), dtype=torch.float64)
    for _ in range(n_draws):
        output = model.output(model.acquire(images, ratio, generator).y).double()
        total += model.task.log_likelihood(output, targets).cpu()
    model.train(was_training)
    return (total / n_draws).numpy()


def rmia(
    target: Floats, reference: Floats, z_target: Floats, z_reference: Floats, own: Any = None
) -> Floats:
    """RMIA's score (n,) of log confidences of x (n,) under target and one reference model.

    The share of population samples z (m,) with ratio(x) / ratio(z) >= 1, where the reference's
    p(x) stands for models that did and did not see x: ((1 + a) p_out + 1 - a) / 2 with a = 0.3.
    ``own`` (n, m), if given, marks z that may not judge x (slices of x's patient).
    """
    x = target - np.log(((1 + OFFLINE_SLOPE) * np.exp(reference) + 1 - OFFLINE_SLOPE) / 2)
    z = z_target - np.log(((1 + OFFLINE_SLOPE) * np.exp(z_reference) + 1 - OFFLINE_SLOPE) / 2)
    judged = x[:, None] - z[None, :] >= np.log(GAMMA)
    allowed = np.ones(judged.shape, bool) if own is None else ~np.asarray(own, bool)
    return (judged & allowed).sum(1) / np.maximum(allowed.sum(1), 1)


def lira(target: Floats, references: Floats) -> Floats:
    """LiRA's offline score (n,): the target's logit confidence against references (r, n) that
    never saw x, in their standard deviations; one spread for all x, as references are few."""
    seen, out = _logit(target), _logit(references)
    spread = out.std(0, ddof=1).mean() if len(out) > 1 else 1.0
    return (seen - out.mean(0)) / max(float(spread), 1e-9)


def score_membership(
    target: SampledModel,
    references: Sequence[SampledModel],
    members: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor],
    ratio: float,
    seed: int,
    patients: np.ndarray | None = None,
) -> dict[str, Any]:
    """Attack ``target`` with known members and non-members, each (images, targets).

    The references must have seen neither. Non-members are RMIA's population; ``patients`` (of the
    non-members) keeps a patient's slices from judging each other. A site can run this on its own
    training and validation slices. LiRA needs two references; its figures are absent otherwise.
    """
    images, targets = (torch.cat(pair) for pair in zip(members, others))
    n = len(members[0])
    confidence = [
        log_confidence(model, images, targets, ratio, _stream(seed, images.device))
        for model in (target, *references)
    ]
    known, reference = confidence[0], confidence[1]
    names = np.arange(len(others[0])) if patients is None else patients
    own = np.concatenate((np.zeros((n, len(names)), bool), names[:, None] == names[None, :]))
    scores = {"rmia": rmia(known, reference, known[n:], reference[n:], own)}
    if len(references) >= MIN_LIRA_REFERENCES:
        scores["lira"] = lira(known, np.stack(confidence[1:]))
    report: dict[str, Any] = {k: separation(s[:n], s[n:]) for k, s in scores.items()}
    return report | {
        "members": n,
        "non_members": len(names),
        "references": len(references),
    }


def audit_membership(
    plan: Plan,
    arm: Arm,
    images: Tensor,
    targets: Tensor,
    patients: np.ndarray,
    variance: Tensor,
    seed: int,
    n_steps: int,
    n_references: int = 1,
    cancelled: Any = lambda: False,
) -> dict[str, Any]:
    """Membership inference where the truth is known: a target trained on half the patients, with
    the plan's DP if it has any.

    A quarter are non-members; the last quarter is the attacker's population, on which its
    references are trained. Everyone trains ``n_steps`` of the plan's own steps. ``control`` is
    the same attack on a net that must give its members away: trained without DP, and without a
    mask, until it knows its ``N_CONTROL`` slices by heart. Raises ``Cancelled`` between steps;
    returns a note where there are fewer than 4 patients.
    """
    names = numpy_generator(seed, "membership").permutation(np.unique(patients))
    if len(names) < 4:
        return {"note": f"needs 4 patients, there are {len(names)}"}
    n = len(names)
    groups = np.split(names, [n // 2, n // 2 + max(1, n // 4)])
    member, other, population = (np.flatnonzero(np.isin(patients, g)) for g in groups)
    few = numpy_generator(seed, "membership-control").permutation(member)[:N_CONTROL]
    penalty = audit_suppression(arm.suppression, images, variance, plan.measurement.noise_std)
    guarded = _private_gradients(plan, images, targets, penalty, member, patients, seed)

    def attacked(
        plan: Plan, rows: np.ndarray, n_steps: int, n_references: int, own: Gradients | None
    ) -> dict[str, Any]:
        shared = (plan, arm, images, targets, variance, penalty, n_steps)
        references = [
            _trained(*shared, population, (seed, k + 1), cancelled) for k in range(n_references)
        ]
        target = _trained(*shared, rows, (seed, 0), cancelled, own)
        known, outside = (
            (images[torch.from_numpy(r)], targets[torch.from_numpy(r)]) for r in (rows, other)
        )
        ratio = 1 / min(plan.measurement.accelerations)
        return score_membership(target, references, known, outside, ratio, seed, patients[other])

    report = attacked(plan, member, n_steps, n_references, guarded)
    report |= {"arm": arm.name, "steps": n_steps, "dp": bool(guarded)}
    report["acceleration"] = round(min(plan.measurement.accelerations), 6)
    return report | {"control": attacked(_by_heart(plan), few, CONTROL_STEPS, 1, None)}


def _by_heart(plan: Plan) -> Plan:
    """The plan with all of k-space measured and a rate at which a few slices are soon learnt."""
    measurement = replace(plan.measurement, ratio_range=(1.0, 1.0), accelerations=(1.0,))
    training = replace(plan.training, learning_rate=CONTROL_LEARNING_RATE)
    return replace(plan, measurement=measurement, training=training)


def _private_gradients(
    plan: Plan,
    images: Tensor,
    targets: Tensor,
    penalty: Penalty,
    rows: np.ndarray,
    patients: np.ndarray,
    seed: int,
) -> Gradients | None:
    if plan.privacy is None:
        return None
    stream = SecretStream.public(seed, "membership-dp")
    fetch = _fetch(images, targets, rows)
    return PrivateGradients(plan, penalty, units_of(plan, patients[rows]), fetch, stream)


def _fetch(images: Tensor, targets: Tensor, rows: np.ndarray) -> Fetch:
    def fetch(batch: np.ndarray) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(rows[batch])
        return images[chosen], targets[chosen]

    return fetch


def _trained(
    plan: Plan,
    arm: Arm,
    images: Tensor,
    targets: Tensor,
    variance: Tensor,
    penalty: Penalty,
    n_steps: int,
    rows: np.ndarray,
    stream: tuple[int, int],
    cancelled: Any,
    gradients: Gradients | None = None,
) -> SampledModel:
    """One model of ``arm`` trained on ``rows``; references start from other random weights."""
    model = build_model(plan, arm, variance).to(images.device)
    if stream[1] > 0:
        _restart(model, derive_seed(*stream, "start"))
    train_steps(
        *(model, plan, arm.beta, penalty, len(rows), _fetch(images, targets, rows)),
        *(Stretch(0, n_steps, n_steps, (*stream, "membership")), None, cancelled, gradients),
    )
    return model.eval()


def _restart(model: SampledModel, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.reset_parameters()


def _logit(log_probability: Floats) -> Floats:
    clipped = np.clip(log_probability, -50, -1e-12)
    return clipped - np.log(-np.expm1(clipped))


def _stream(seed: int, device: torch.device) -> torch.Generator:
    return torch_generator(seed, "membership-masks", device=device)
