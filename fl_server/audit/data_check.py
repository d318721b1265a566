"""Is this data fit to audit with? Shape, labels, intensities, and enough patients."""

import numpy as np

from infomri_core.attacks.audit_set import folds
from infomri_core.data import SliceDataset
from infomri_core.data.base import SliceTable
from infomri_core.plan.plan import Plan
from infomri_core.system.errors import InputError

MIN_FIT_PATIENTS = 7
MIN_SCORED_PATIENTS = 5
MIN_SPLIT_PATIENTS = 13
DIMMEST = 0.5
_BLOCK = 64
_SCORING_FOLDS = 3


def check_audit_data(plan: Plan, dataset: SliceDataset, where: str, n_patients: int) -> None:
    """``InputError`` unless ``dataset`` has the plan's shape, labels and intensities, and images
    of at least ``n_patients`` patients."""
    remedy = "use data prepared like the sites'; see docs/data.md"
    found = plan.task.mismatch(dataset)
    if found is not None:
        expected, got = (f"{found.what} {value}" for value in (found.expected, found.got))
        raise InputError(where, expected, got, remedy)
    n_found = len(np.unique(dataset.table.patients))
    if n_found < n_patients:
        remedy = "give more patients: fewer are too few to decide anything"
        raise InputError(where, f"at least {n_patients} patients", str(n_found), remedy)
    check_intensities(dataset, where)


def check_intensities(dataset: SliceDataset, where: str) -> None:
    """``InputError`` unless the images are finite, in [0, 1], not constant, and use the range."""
    lowest, highest, varies = np.inf, -np.inf, False
    for start in range(0, len(dataset), _BLOCK):
        block = dataset.images(np.arange(start, min(start + _BLOCK, len(dataset))))
        if not bool(block.isfinite().all()):
            raise InputError(where, "finite pixels", "NaN or infinity", "fix the data")
        lowest, highest = min(lowest, float(block.min())), max(highest, float(block.max()))
        varies = varies or bool((block.flatten(1).amax(1) > block.flatten(1).amin(1)).any())
    if not varies:
        raise InputError(where, "images", "constant ones only", "check the data")
    if lowest < -1e-6 or highest > 1 + 1e-6 or highest < DIMMEST:
        raise InputError(
            where,
            "magnitudes in [0, 1], each volume divided by its 99.9th percentile",
            f"values from {lowest:.3g} to {highest:.3g}",
            "normalise the data as docs/data.md says",
        )


def split_for_scoring(dataset: SliceDataset) -> tuple[SliceDataset, SliceDataset]:
    """The audit set as (patients to fit on, a third of the patients to score on, all 'val').

    Of ``MIN_SPLIT_PATIENTS`` there are enough on either side.
    """
    patients = dataset.table.patients
    kept, scored = folds(len(dataset), _SCORING_FOLDS, patients)[0]
    rows = np.arange(len(dataset))
    fit, held = (dataset.where(np.isin(rows, part)) for part in (kept, scored))
    held.table = all_validation(held.table)
    return fit, held


def all_validation(table: SliceTable) -> SliceTable:
    """The same slices, all to be scored."""
    return SliceTable(
        table.patients,
        table.labels,
        table.label_names,
        table.exclusive,
        np.full(len(table), "val"),
        table.hospital,
        table.position,
    )
