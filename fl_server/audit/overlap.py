"""Patients of the audit set and of the training data are never the same."""

import numpy as np

from infomri_core.data import SliceDataset
from infomri_core.system.errors import InputError


def refuse_overlap(training: SliceDataset, audit: SliceDataset) -> None:
    """Attackers trained on the very patients they attack would prove nothing."""
    n_shared = len(np.intersect1d(training.table.patients, audit.table.patients))
    if n_shared:
        raise InputError(
            "--audit",
            "patients of its own",
            f"{n_shared} that are in --data too",
            "use role=site for --data and role=audit for --audit",
        )
