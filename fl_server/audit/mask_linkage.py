"""Whether the mask alone tells whose scan it is, on the study centre's own held-out patients."""

from typing import Any

import numpy as np
import torch

from fl_server.audit.adversaries import CONTROL_FOLDS, load_arms
from infomri_core.attacks.audit_set import folds
from infomri_core.attacks.mask_linkage import link_masks
from infomri_core.data import SliceDataset
from infomri_core.messages.wire import Arrays
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import torch_generator
from infomri_core.report.mask_linkage import META


def link_by_mask(
    plan: Plan, audit_set: SliceDataset, arms: Arrays, device: torch.device
) -> list[dict[str, Any]]:
    """One entry for each acceleration of an arm that decides as it measures, as JSON values; the
    others' masks are drawn before a patient is looked at, and tell nothing."""
    looking = {name: a for name, a in arms.items() if plan.arm(name).options.of_patient}
    _, rows = folds(len(audit_set), CONTROL_FOLDS, audit_set.table.patients)[0]
    patients = audit_set.table.patients[rows]

    def fetch(chosen: np.ndarray) -> torch.Tensor:
        return audit_set.images(rows[chosen]).to(device)

    entries = []
    for name, model in load_arms(plan, looking, device).items():
        for acceleration in plan.measurement.accelerations:
            generator = torch_generator(plan.study.seed, META, name, acceleration, device=device)
            given = (patients, fetch, 1 / acceleration, model.noise_std, generator)
            found = link_masks(model.sampler, *given)
            entries.append({"arm": name, "acceleration": acceleration, **found.to_json()})
    return entries
