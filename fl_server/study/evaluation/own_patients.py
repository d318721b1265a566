"""What trained arms do on the study centre's own held-out patients, whose images and targets are
at hand: curves that no sum of a site could draw, and guards that say when a model is worthless."""

from typing import Any

import numpy as np
import torch

from fl_server.audit.adversaries import CONTROL_FOLDS, known_targets, load_arms
from infomri_core.attacks.audit_set import folds
from infomri_core.data import SliceDataset
from infomri_core.messages.wire import Arrays
from infomri_core.plan.plan import Plan
from infomri_core.randomness.seeds import torch_generator

META = "own_patients"
"""Where a study's meta holds what :func:`inspect_arms` found."""
MOST_SLICES = 64


@torch.no_grad()
def inspect_arms(
    plan: Plan, audit_set: SliceDataset, arms: Arrays, device: torch.device
) -> list[dict[str, Any]]:
    """One entry an arm and acceleration: figures, curves and concerns as JSON values; none of a
    task that says nothing. At most ``MOST_SLICES`` slices, evenly spread, no one trained on."""
    _, held_out = folds(len(audit_set), CONTROL_FOLDS, audit_set.table.patients)[0]
    spread = np.linspace(0, len(held_out) - 1, min(MOST_SLICES, len(held_out))).round()
    rows = held_out[np.unique(spread.astype(int))]
    if plan.task.mismatch(audit_set) is not None:
        return []
    targets = known_targets(plan.task, audit_set, rows).to(device)
    images = audit_set.images(rows).to(device)
    entries = []
    for name, model in load_arms(plan, arms, device).items():
        for acceleration in plan.measurement.accelerations:
            generator = torch_generator(plan.study.seed, META, name, acceleration, device=device)
            found = model.acquire(images, 1 / acceleration, generator)
            seen = model.inspect(found.y, found.mask, targets)
            if seen is not None:
                curves = [curve._asdict() for curve in seen.curves]
                entries.append(
                    {
                        "arm": name,
                        "acceleration": acceleration,
                        "slices": len(rows),
                        "figures": dict(seen.figures),
                        "curves": curves,
                        "concerns": list(seen.concerns),
                    }
                )
    return entries
