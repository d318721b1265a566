"""How many patients stand behind what is computed from some rows of a table."""

from dataclasses import dataclass

import numpy as np

from infomri_core.summaries.groups import SLOTS, Ints, coarser


@dataclass(frozen=True)
class Limits:
    """How many patients must stand behind each sum that leaves a site, and behind each with, and
    each without, a finding."""

    cohort: int
    class_cohort: int


@dataclass(frozen=True)
class Groups:
    """Who stands behind each slot of a summary: ``patients`` (S,) and ``slices`` (S,)."""

    patients: Ints
    slices: Ints


@dataclass(frozen=True)
class Findings:
    """Of a table and labels: ``names`` (L,), how many ``slices`` show each, how many patients
    have such a slice (``positive``), and the smaller of the numbers of patients with a positive
    and with a negative slice (``rarer``)."""

    names: tuple[str, ...] = ()
    slices: tuple[int, ...] = ()
    positive: tuple[int, ...] = ()
    rarer: tuple[int, ...] = ()


def count_groups(patients: np.ndarray, slots: np.ndarray) -> Groups:
    """Who of ``patients`` (n,), one a slice, stands behind each of their ``slots`` (n,). A patient
    in two slots raises ``ValueError``: then a slot is no group of patients."""
    _, first, owner = np.unique(patients, return_index=True, return_inverse=True)
    if len(slots) != len(patients) or (slots != slots[first][owner]).any():
        raise ValueError("a patient in two groups")
    return Groups(*(np.bincount(s, minlength=SLOTS) for s in (slots[first], slots)))


def joined_groups(
    patients: np.ndarray, slots: np.ndarray, slices: np.ndarray, limits: Limits
) -> Ints:
    """To which slot each slot (S,) is added, so that the cohort of patients stands behind each.

    ``slices`` (S,): of how many a summary speaks. ``ValueError`` unless they are the groups'.
    """
    behind = count_groups(patients, slots)
    if not np.array_equal(slices, behind.slices):
        raise ValueError("a summary of other slices than the groups'")
    return coarser(behind.patients[:, None], limits.cohort)


def count_classes(
    patients: np.ndarray, slots: np.ndarray, labels: np.ndarray
) -> tuple[Ints, Ints]:
    """Of each slot the patients and the slices, (S, L, 2) each, with a negative | a positive of
    the multi-hot ``labels`` (n, L)."""
    names, first, owner = np.unique(patients, return_index=True, return_inverse=True)
    positive = (labels != 0).astype(np.int64)
    each = np.stack((1 - positive, positive), -1)
    slices = np.zeros((SLOTS, positive.shape[1], 2), np.int64)
    np.add.at(slices, slots, each)
    having = np.zeros((len(names), positive.shape[1], 2), np.int64)
    np.maximum.at(having, owner, each)
    classes = np.zeros_like(slices)
    np.add.at(classes, slots[first], having)
    return classes, slices


def count_findings(names: tuple[str, ...], patients: np.ndarray, labels: np.ndarray) -> Findings:
    """Who of ``patients`` (n,) shows which of the multi-hot ``labels`` (n, L)."""
    everyone, owner = np.unique(patients, return_inverse=True)
    having = np.zeros((2, len(everyone), labels.shape[1]), dtype=bool)
    np.logical_or.at(having[0], owner, labels == 0)
    np.logical_or.at(having[1], owner, labels != 0)
    negative, positive = having.sum(1)
    return Findings(
        names,
        tuple(int(n) for n in labels.sum(0)),
        tuple(int(n) for n in positive),
        tuple(int(n) for n in np.minimum(negative, positive)),
    )
