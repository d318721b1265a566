"""Fitting the attackers on the study centre's own patients, and certifying them first."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from fl_server.audit.fitting import FitContext, Say, fit_attacks
from fl_server.settings import Audit
from infomri_core.arms.build import build_model
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.arms.weights import unflatten
from infomri_core.attacks.audit_set import folds
from infomri_core.attacks.certify import Certificate
from infomri_core.attacks.floors.class_means import ClassMeans
from infomri_core.attacks.floors.diagnosis import fit_together
from infomri_core.attacks.linkage import Likeness
from infomri_core.attacks.networks.learned import LearnedAttack
from infomri_core.audit.adversaries import Adversaries
from infomri_core.audit.full_image_classifier import FullImageClassifier
from infomri_core.data import SliceDataset
from infomri_core.messages.wire import Arrays
from infomri_core.physics.entropy import redundancy
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.system.errors import InputError
from infomri_core.tasks.task import Task

BATCH = 64
REDUNDANCY_MASKS = 64
CONTROL_FOLDS = 7


@dataclass
class FittedAudit:
    """The fitted adversaries, what certifies them, and how the learned ones converged.

    ``failed``: attacks that could not be fitted, and why. ``budgets``: what training took.
    """

    adversaries: Adversaries
    n_images: int
    certificates: dict[str, Certificate] = field(default_factory=dict)
    histories: dict[str, list[Any]] = field(default_factory=dict)
    redundancy: dict[tuple[str, float], float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, dict[str, int]] = field(default_factory=dict)


def fit_audit(
    plan: Plan,
    settings: Audit,
    audit_set: SliceDataset,
    arms: Arrays,
    device: torch.device,
    say: Say,
) -> FittedAudit:
    """Fit every attack of the plan once for all arms and ratios, on the audit set.

    They are certified on patients held out of it, against LMMSE on a control mask that can be
    rebuilt; one that fails is reported as weak, never as privacy. One that cannot be fitted is
    left out and named.
    """
    everything = audit_set.images(np.arange(len(audit_set))).to(device)
    kept, held_out = folds(len(audit_set), CONTROL_FOLDS, audit_set.table.patients)[0]
    images, table = everything[torch.from_numpy(kept)], audit_set.table.take(kept)
    models = load_arms(plan, arms, device)
    targets = known_targets(plan.task, audit_set, kept)
    context = FitContext(
        plan,
        images,
        table.patients,
        targets.to(device),
        everything[torch.from_numpy(held_out)],
        [model.sampler for model in models.values()],
        settings.options,
        settings.size_curve,
    )
    found = fit_attacks(context, plan.evaluation.attacks, say)
    fitted = FittedAudit(
        Adversaries(found.attacks), len(images), found.certificates, failed=found.failed
    )
    for name, attack in found.attacks.items():
        if isinstance(attack, LearnedAttack):
            fitted.histories[name] = list(attack.history)
            fitted.budgets[name] = asdict(attack.budget)
    fitted.adversaries.likeness = Likeness.fit(images, table.patients)
    if plan.task.classes is not None:
        means = ClassMeans(plan.task.shape).fit_labels(images, targets.numpy())
        fitted.adversaries.class_means = means
    if settings.reader_steps and plan.task.readable and plan.task.serves(0.0):
        say("training a reader of full images, to see whether lesions stay legible")
        reader = FullImageClassifier(plan.task.shape)
        fitted.adversaries.reader = reader.fit(
            plan, images, targets.to(device), settings.reader_steps
        )
    logits = {}
    for arm, model in models.items():
        for acceleration in plan.measurement.accelerations:
            cell = (arm, acceleration)
            logits[cell] = _logits(plan, model, cell, images)
            fitted.redundancy[cell] = _redundancy(plan, model, cell, images)
    if plan.task.n_answers:
        fitted.adversaries.diagnosis = fit_together(images, logits)
    return fitted


def known_targets(task: Task, dataset: SliceDataset, rows: np.ndarray) -> torch.Tensor:
    """The targets of the rows of an audit set; of one that was not made for the task, nothing."""
    if task.mismatch(dataset) is None:
        return task.targets(dataset, rows)
    return task.no_targets(len(rows))


def check_audit_set(plan: Plan, dataset: SliceDataset) -> None:
    """``InputError`` unless the audit set has the shape of the plan's images."""
    if dataset.shape != plan.task.shape:
        raise InputError(
            "centre.toml: [audit] data",
            f"images of shape {plan.task.shape} as in the plan",
            f"{dataset.shape}",
            "use an audit set prepared like the sites' data",
        )


def load_arms(plan: Plan, arms: Arrays, device: torch.device) -> Mapping[str, SampledModel]:
    """The trained models of the arms, in evaluation mode."""
    models = {}
    for name, flat in arms.items():
        model = build_model(plan, plan.arm(name)).to(device)
        unflatten(model, np.asarray(flat))
        models[name] = model.eval()
    return models


@torch.no_grad()
def _logits(
    plan: Plan, model: SampledModel, cell: tuple[str, float], images: torch.Tensor
) -> torch.Tensor:
    """The model's answers on the audit set (n, L), for what they give away of the images."""
    generator = torch_generator(plan.study.seed, "diagnosis", *cell, device=images.device)
    logits = []
    for batch in images.split(BATCH):
        found = model.acquire(batch, 1 / cell[1], generator)
        logits.append(model.task.disclosed(model.output(found.y, found.mask)))
    return torch.cat(logits)


@torch.no_grad()
def _redundancy(
    plan: Plan, model: SampledModel, cell: tuple[str, float], images: torch.Tensor
) -> float:
    device = next(model.network.parameters()).device
    generator = torch_generator(plan.study.seed, "redundancy", *cell, device=device)
    some = images[torch.arange(REDUNDANCY_MASKS) % len(images)]
    masks = model.masks_for(some, 1 / cell[1], generator)
    return float(redundancy(masks).mean())
