"""Who is whose: splits, roles and hospitals are given to patients, never to slices."""

import hashlib
from dataclasses import replace

import numpy as np

from infomri_core.data.base import SliceTable
from infomri_core.data.uri import Selection
from infomri_core.system.errors import InputError, nearest

VAL_SALT = "infomri-validation"
AUDIT_SALT = "infomri-audit"
HOSPITAL_SALT = "infomri-hospital"


def patient_draw(salt: str, patient: str) -> int:
    """A number in [0, 2^64) fixed for ever by ``salt`` and ``patient`` (from their sha256)."""
    message = f"{salt}\n{patient}".encode(errors="surrogatepass")  # ids need not be UTF-8
    digest = hashlib.sha256(message).digest()
    return int.from_bytes(digest[:8], "big")


def split_patients(
    patients: np.ndarray, val_fraction: float = 0.2, groups: np.ndarray | None = None
) -> np.ndarray:
    """'train' or 'val' for each slice, (n,); all slices of a patient get the same.

    In each group (hospital; default all one) the ``val_fraction`` of the patients with the
    smallest draw is 'val': at least one, never all.
    """
    chosen = _share(patients, groups, val_fraction, VAL_SALT)
    return np.where(chosen, "val", "train")


def audit_patients(table: SliceTable, fraction: float = 0.1) -> np.ndarray:
    """Which slices (n,) belong to the audit set: patients of the study centre, not of a site.

    They are taken from the patients of the train split, so the validation set stays whole, and
    from each hospital alike. The audit set of a smaller fraction lies within that of a larger.
    """
    audit = np.zeros(len(table), dtype=bool)
    rows = np.flatnonzero(table.split == "train")
    audit[rows] = _share(table.patients[rows], table.hospital[rows], fraction, AUDIT_SALT)
    return audit


def deal_hospitals(patients: np.ndarray, n_hospitals: int) -> np.ndarray:
    """A hospital 'H1'..'HN' for each slice (n,), by the patient's draw."""
    unique, inverse = np.unique(patients, return_inverse=True)
    names = [f"H{1 + patient_draw(HOSPITAL_SALT, str(p)) % n_hospitals}" for p in unique]
    return np.asarray(names)[inverse]


def check_split(patients: np.ndarray, split: np.ndarray, where: str) -> None:
    """Refuse unknown split names, and a patient who stands in two splits."""
    unknown = np.flatnonzero(~np.isin(split, ("train", "val", "test")))
    if len(unknown):
        got = f"another word at slice {unknown[0]}"
        raise InputError(f"{where} split", "train, val or test", got, "rename the split")
    pairs = np.unique(np.stack([patients.astype(str), split.astype(str)]), axis=1)
    names, counts = np.unique(pairs[0], return_counts=True)
    if (counts > 1).any():
        first = np.flatnonzero(patients.astype(str) == names[counts > 1][0])[0]
        raise InputError(
            f"{where} split",
            "each patient in one split only",
            f"a patient in {counts.max()} splits (first at slice {first})",
            "give all slices of a patient the same split",
        )


def select(table: SliceTable, selection: Selection, where: str) -> tuple[SliceTable, np.ndarray]:
    """The table with its hospitals dealt, and the row indices that ``selection`` asks for.

    Roles are given before hospitals are dealt, so the audit set of a file is the same patients
    however many hospitals share it.
    """
    selection.check(where)
    keep = np.ones(len(table), dtype=bool)
    if selection.role:
        audit = audit_patients(table, selection.audit_fraction)
        keep &= audit if selection.role == "audit" else ~audit
    if selection.hospitals > 1:
        table = _dealt(table, selection.hospitals, where)
    if selection.hospital:
        _check_hospitals(selection.hospital, np.unique(table.hospital).tolist(), where)
        keep &= np.isin(table.hospital, selection.hospital)
    _check_patients(table.patients[keep], selection.role, where)
    if selection.split:
        keep &= table.split == selection.split
    if not keep.any():
        splits = ", ".join(np.unique(table.split).tolist())
        raise InputError(
            where, "at least one slice", "none", f"widen the selection; the splits are {splits}"
        )
    return table, np.flatnonzero(keep)


def _dealt(table: SliceTable, n_hospitals: int, where: str) -> SliceTable:
    stored = np.unique(table.hospital)
    if len(stored) > 1:
        raise InputError(
            f"{where} hospitals",
            "data without hospitals of its own",
            f"{len(stored)} stored hospitals ({', '.join(stored.tolist())})",
            "drop the option and choose with hospital=NAME",
        )
    return replace(table, hospital=deal_hospitals(table.patients, n_hospitals))


def _share(
    patients: np.ndarray, groups: np.ndarray | None, fraction: float, salt: str
) -> np.ndarray:
    unique, first, inverse = np.unique(patients, return_index=True, return_inverse=True)
    draws = np.array([patient_draw(salt, str(p)) for p in unique], dtype=np.uint64)
    group = np.zeros(len(unique)) if groups is None else groups[first]
    chosen = np.zeros(len(unique), dtype=bool)
    for name in np.unique(group):
        members = np.flatnonzero(group == name)
        n_chosen = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen[members[np.argsort(draws[members])[:n_chosen]]] = True
    return chosen[inverse]


def _check_hospitals(asked: tuple[str, ...], known: list[str], where: str) -> None:
    for name in asked:
        if name not in known:
            listed = f"the hospitals are {', '.join(known)}"
            hint = nearest(name, known)
            raise InputError(
                f"{where} hospital",
                "a hospital of the data",
                f"'{name}'",
                f"{hint} {listed}".strip(),
            )


def _check_patients(patients: np.ndarray, role: str, where: str) -> None:
    n_patients = len(np.unique(patients))
    if n_patients == 0:
        raise InputError(where, "at least one patient", "none", "widen the selection")
    if n_patients == 1 and role != "audit":
        raise InputError(
            where,
            "at least two patients (one to train on, one to validate on)",
            f"one ('{patients[0]}')",
            "add patients or widen the selection",
        )
