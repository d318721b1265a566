"""What attackers rebuild, to look at: images of the study centre's own held-out patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fl_server.audit.adversaries import CONTROL_FOLDS, FittedAudit, load_arms
from infomri_core.arms.sampled_model import SampledModel
from infomri_core.attacks.audit_set import folds
from infomri_core.attacks.registry import FLOORS
from infomri_core.data import SliceDataset
from infomri_core.messages.wire import Arrays
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import zero_fill
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.results.frontier import FEDERATED, Row

N_EXAMPLES = 4
ZERO_FILLED = "zero-filled"


@dataclass(frozen=True)
class Examples:
    """``truth`` (n, H, W) and, by attack, ``images`` (n, H, W) and their ``psnr`` (n,) in dB."""

    arm: str
    acceleration: float
    truth: np.ndarray
    images: Mapping[str, np.ndarray]
    psnr: Mapping[str, np.ndarray]


def held_out_examples(audit_set: SliceDataset) -> np.ndarray:
    """Row numbers of the middle slices of at most four patients no attack was fitted on."""
    patients = audit_set.table.patients
    _, held_out = folds(len(audit_set), CONTROL_FOLDS, patients)[0]
    names = np.unique(patients[held_out])
    spread = np.linspace(0, len(names) - 1, min(N_EXAMPLES, len(names))).round().astype(int)
    rows = [held_out[patients[held_out] == name] for name in names[np.unique(spread)]]
    return np.array([of_patient[len(of_patient) // 2] for of_patient in rows], np.int64)


def shown_cell(rows: Sequence[Row]) -> tuple[str, float] | None:
    """The arm and acceleration worth looking at: the best diagnosis among the arms trained with
    suppression, or among all where there is none, at the highest acceleration."""
    rows = [row for row in rows if row.training == FEDERATED]
    if not rows:
        return None
    hardest = max(row.acceleration for row in rows)
    there = [row for row in rows if row.acceleration == hardest]
    protected = [row for row in there if row.suppression != "none"] or there
    best = max(protected, key=lambda row: row.utility.value or 0.0)
    return best.arm, best.acceleration


@torch.no_grad()
def make_examples(
    plan: Plan,
    model: SampledModel,
    fitted: FittedAudit,
    audit_set: SliceDataset,
    cell: tuple[str, float],
    device: torch.device,
) -> Examples:
    """Measure held-out audit slices under ``model`` at ``cell`` and let every attack rebuild."""
    truth = audit_set.images(held_out_examples(audit_set)).to(device)
    generator = torch_generator(plan.study.seed, "examples", *cell, device=device)
    found = model.acquire(truth, 1 / cell[1], generator)
    disclosed = model.task.disclosed(model.output(found.y, found.mask))
    rebuilt = fitted.adversaries.reconstruct(cell, found.y, found.mask, disclosed)
    images = {ZERO_FILLED: zero_fill(found.y).abs().clamp(0, 1)}
    images |= {name: image for name, image in rebuilt.items() if name not in FLOORS}
    quality = {name: psnr(image, truth).cpu().numpy() for name, image in images.items()}
    arrays = {name: image.float().cpu().numpy() for name, image in images.items()}
    return Examples(*cell, truth.cpu().numpy(), arrays, quality)


def examples_for(
    plan: Plan,
    rows: Sequence[Row],
    arms: Arrays,
    fitted: FittedAudit,
    audit_set: SliceDataset,
    device: torch.device,
) -> Examples | None:
    """Examples for :func:`shown_cell`; None where there is no row or no one to show."""
    cell = shown_cell(rows)
    if cell is None or len(held_out_examples(audit_set)) == 0:
        return None
    model = load_arms(plan, {cell[0]: arms[cell[0]]}, device)[cell[0]]
    return make_examples(plan, model, fitted, audit_set, cell, device)
