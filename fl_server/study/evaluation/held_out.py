"""What the noise of evaluation would drown or cannot bound, from the study centre's own patients.

The audit's held-out patients, whom no attack was fitted on, are scored here. About their mean
PSNRs the sites clip a patient's. Linkage, where one patient's figures depend on all others, and
legibility, which would cost more noise than it says, are measured on them alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from fl_server.audit.adversaries import CONTROL_FOLDS, FittedAudit, known_targets, load_arms
from infomri_core.attacks.audit_set import folds
from infomri_core.data import SliceDataset
from infomri_core.messages import Scores
from infomri_core.messages.wire import Arrays
from infomri_core.plan.adversary_knowledge import base_name
from infomri_core.plan.plan import Plan
from infomri_core.results.arm_names import federated_name
from infomri_core.score_noise.mechanism import Cell, Form
from infomri_core.site.evaluate import Scoring

MIDDLE_DB = 25.0
"""Where nothing is known of an attack."""


@dataclass(frozen=True)
class HeldOut:
    """Exact scores of the study centre's held-out patients by cell, how many these are, and the
    task's references."""

    scores: Mapping[Cell, Scores] = field(default_factory=dict)
    n_patients: int = 0
    references: Mapping[Cell, np.ndarray] = field(default_factory=dict)

    def reference(self, form: Form) -> np.ndarray:
        """What the task bounds its sums by, in the order of ``form``."""
        plain = form.task.reference(None)
        known = [(federated_name(name), a) for name, a in form.scored]
        return np.stack([self.references.get(cell, plain) for cell in known])

    def expected(self, form: Form) -> np.ndarray:
        """The mean PSNRs in dB in the order of ``form``; insiders' as those of the attack that
        they began with."""
        figures = [self.psnr(cell, name) for cell in form.cells for name in form.attacks]
        figures += [self.psnr(form.cells[0], name) for name in form.floors]
        return np.array(figures, np.float64).clip(0, 50)

    def psnr(self, cell: Cell, name: str) -> float:
        """The mean PSNR in dB of one attack or floor in one cell."""
        scores = self.scores.get(cell)
        quality = {} if scores is None else scores.quality
        found = quality.get(name) or quality.get(base_name(name))
        return MIDDLE_DB if found is None else found.mean("psnr")


def score_held_out(
    plan: Plan,
    fitted: FittedAudit,
    audit_set: SliceDataset,
    arms: Arrays,
    device: torch.device,
) -> HeldOut:
    """Score every arm and attack on the audit's held-out patients."""
    _, rows = folds(len(audit_set), CONTROL_FOLDS, audit_set.table.patients)[0]
    table = audit_set.table.take(rows)
    targets = known_targets(plan.task, audit_set, rows).to(device)
    images = audit_set.images(rows).to(device)

    def fetch(chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        where = torch.from_numpy(chosen)
        return images[where], targets[where]

    scoring = Scoring(
        *(plan, table, fetch, fitted.adversaries),
        *(np.zeros(len(rows), np.int64), (plan.study.seed, "held out")),
    )
    found, references = {}, {}
    for name, model in load_arms(plan, arms, device).items():
        for acceleration in plan.measurement.accelerations:
            seen = scoring.look(model, plan.arm(name), acceleration)
            found[seen.cell] = seen.scores(model.noise_std)
            references[seen.cell] = plan.task.reference(seen.all_evidence())
    return HeldOut(found, len(np.unique(table.patients)), references)
