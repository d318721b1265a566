"""Fixed groups of patients: what leaves a site are sums over these, never over one patient.

A site has one partition of its validation patients, by its own key: the same for every study,
plan and round on the same data. A partition of each study's own would give smaller groups by
difference, and one that anyone can compute would say who is in a group.
"""

import hashlib
import hmac
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

SLOTS = 10
"""Groups of a site at most, and the length of every summary's first axis: slots of several sites
can be summed one by one. A slot without patients holds zeros."""
MIN_COHORT = 5


def partition(patients: npt.NDArray[Any], secret: str, min_cohort: int = MIN_COHORT) -> Ints:
    """The slot (n,) of each slice by its patient (n,).

    Patients stand in the order of HMAC-SHA256 under ``secret`` and are cut into at most ``SLOTS``
    groups that differ by one patient at most. Every group has ``min_cohort`` patients or more;
    fewer patients than that are one group. The order of the slices, and how many a patient has,
    do not matter.
    """
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    ranked = sorted(range(len(names)), key=lambda i: _place(secret, str(names[i])))
    n_groups = min(SLOTS, max(1, len(names) // min_cohort))
    slots = np.zeros(len(names), np.int64)
    slots[ranked] = np.arange(len(names)) * n_groups // max(1, len(names))
    result: Ints = slots[owner]
    return result


def groups_within(
    patients: npt.NDArray[Any], rows: Ints, secret: str, min_cohort: int = MIN_COHORT
) -> Ints:
    """The slot of each of ``rows`` (k,) by the partition of all ``patients`` (n,) they belong to.

    Where a plan's band leaves fewer than ``min_cohort`` patients of a group with a slice,
    neighbouring groups are joined.
    """
    slots = partition(patients, secret, min_cohort)[rows]
    behind = patients_behind(patients[rows], slots)
    result: Ints = coarser(behind[:, None], min_cohort)[slots]
    return result


def patients_behind(patients: npt.NDArray[Any], slots: Ints) -> Ints:
    """How many patients stand behind each slot, (SLOTS,)."""
    _, first = np.unique(patients, return_index=True)
    return np.bincount(slots[first], minlength=SLOTS)


def coarser(behind: npt.NDArray[Any], minimum: npt.NDArray[Any] | int) -> Ints:
    """To which slot each slot (S,) is added, so that no sum stands for too few.

    ``behind`` (S, K): how many of K kinds stand behind each slot; neighbours are joined, in order,
    until each kind has at least ``minimum`` (K,) or a number; what remains joins the last. All in
    slot 0 where the whole has too few: the caller refuses that.
    """
    target = np.zeros(len(behind), np.int64)
    heads: list[int] = []
    held, start = np.zeros(behind.shape[1], np.int64), 0
    for slot, found in enumerate(behind):
        target[slot] = start
        held = held + found
        if (held >= minimum).all():
            heads.append(start)
            held, start = np.zeros_like(held), slot + 1
    if start < len(behind):
        target[start:] = heads[-1] if heads else 0
    return target


def pooled(sums: npt.NDArray[Any], target: Ints) -> npt.NDArray[Any]:
    """``sums`` (S, ...) with each slot added to its ``target`` (S,)."""
    result = np.zeros_like(sums)
    np.add.at(result, target, sums)
    return result


def _place(secret: str, patient: str) -> bytes:
    message = f"group\x1f{patient}".encode(errors="surrogatepass")  # ids need not be UTF-8
    return hmac.digest(secret.encode(), message, hashlib.sha256)
