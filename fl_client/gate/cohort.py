"""How many patients stand behind what is computed from some rows of a table."""

from dataclasses import dataclass

import numpy as np

from infomri_core.data.base import SliceTable
from infomri_core.summaries.groups import SLOTS


@dataclass(frozen=True)
class Groups:
    """Who stands behind each slot of a summary: ``patients`` (S,) and ``slices`` (S,); ``classes``
    (S, L, 2): patients with a negative | a positive slice; ``labels`` (S, L, 2): these slices."""

    patients: np.ndarray
    slices: np.ndarray
    classes: np.ndarray
    labels: np.ndarray


def count_groups(table: SliceTable, slots: np.ndarray) -> Groups:
    """Who of ``table`` (n slices) stands behind each of its ``slots`` (n,). A patient in two slots
    raises ``ValueError``: then a slot is no group of patients."""
    names, first, owner = np.unique(table.patients, return_index=True, return_inverse=True)
    if len(slots) != len(table) or (slots != slots[first][owner]).any():
        raise ValueError("a patient in two groups")
    positive = (table.labels != 0).astype(np.int64)
    labels = np.zeros((SLOTS, positive.shape[1], 2), np.int64)
    having = np.zeros((len(names), positive.shape[1], 2), np.int64)
    each = np.stack((1 - positive, positive), -1)
    np.add.at(labels, slots, each)
    np.maximum.at(having, owner, each)
    classes = np.zeros_like(labels)
    np.add.at(classes, slots[first], having)
    patients, slices = (np.bincount(s, minlength=SLOTS) for s in (slots[first], slots))
    return Groups(patients, slices, classes, labels)


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
