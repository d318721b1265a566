"""How many patients stand behind the rows that a job reads."""

import numpy as np

from infomri_core.data.base import SliceTable
from infomri_core.plan.plan import Plan


def count_patients(plan: Plan, table: SliceTable) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Patients in ``table``; of these, for each finding of the plan's task, those with a positive
    slice; and the smaller of the numbers of patients with a positive and with a negative slice."""
    found = plan.task.findings(table)
    return len(np.unique(table.patients)), found.positive, found.rarer


def count_known(plan: Plan, table: SliceTable) -> int:
    """Patients in ``table`` of whom the plan's task knows a target: of no one else are its
    losses, weights and figures, and one alone among many would be all that they are of."""
    return len(np.unique(table.patients[plan.task.known(table)]))
