"""How many patients stand behind what is computed from some rows of a table."""

import numpy as np

from infomri_core.data.base import SliceTable


def count_patients(table: SliceTable) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Patients in ``table``; of these, for each label, those with a positive slice; and the
    smaller of the numbers of patients with a positive and with a negative slice."""
    patients, owner = np.unique(table.patients, return_inverse=True)
    having = np.zeros((2, len(patients), table.labels.shape[1]), dtype=bool)
    np.logical_or.at(having[0], owner, table.labels == 0)
    np.logical_or.at(having[1], owner, table.labels != 0)
    negative, positive = having.sum(1)
    return (
        len(patients),
        tuple(int(n) for n in positive),
        tuple(int(n) for n in np.minimum(negative, positive)),
    )
