"""Giving patients to train, validation and test, alike in each hospital and pattern of labels."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from infomri_core.data.checking.columns import Columns, read_columns
from infomri_core.data.hdf5.guarded import make_room
from infomri_core.system.errors import InputError
from infomri_core.system.files import check_output

_SPARE = 1 << 20
NAMES = ("train", "val", "test")


def parse_ratio(text: str) -> tuple[float, ...]:
    """Shares of train, val and test from ``80:20`` or ``70:15:15``; ``InputError`` otherwise."""
    try:
        parts = [float(part) for part in text.replace(",", ":").replace("/", ":").split(":")]
    except ValueError:
        parts = []
    parts = [*parts, 0.0] if len(parts) == 2 else parts
    if len(parts) != 3 or min(parts) < 0 or parts[0] <= 0 or parts[1] <= 0:
        expected = "shares such as 80:20 or 70:15:15, train and validation above 0"
        raise InputError("--ratio", expected, f"'{text}'", "correct it")
    return tuple(part / sum(parts) for part in parts)


def divide_patients(columns: Columns, shares: tuple[float, ...], seed: int) -> np.ndarray:
    """'train', 'val' or 'test' for each slice, (n,); all slices of a patient get the same.

    Patients are shuffled, ordered by hospital and by the labels that any of their slices has, and
    dealt one after another to the split that is furthest behind its share. So each hospital and
    pattern of labels is divided by the shares to within a patient or two, and all together to
    within one. Train and val get a patient at least (and test, if it has a share).
    """
    names, first, inverse = np.unique(columns.patients, return_index=True, return_inverse=True)
    wanted = sum(share > 0 for share in shares)
    if len(names) < wanted:
        got = f"{len(names)}"
        raise InputError("patients", f"at least {wanted} to divide", got, "import more patients")
    pattern = np.zeros((len(names), 0), dtype=np.uint8)
    if columns.labels is not None:
        pattern = np.zeros((len(names), len(columns.labels.names)), dtype=np.uint8)
        np.maximum.at(pattern, inverse, columns.labels.values)
    keys = [(columns.hospital[i], row.tobytes()) for i, row in zip(first, pattern)]
    order = np.random.default_rng(seed).permutation(len(names))
    order = np.array(sorted(order.tolist(), key=lambda i: keys[i]))
    given = np.zeros(len(shares), dtype=int)
    choice = np.empty(len(names), dtype=int)
    for n, patient in enumerate(order, start=1):
        choice[patient] = int(np.argmax(np.asarray(shares) * n - given))
        given[choice[patient]] += 1
    _fill_empty(choice, shares, order)
    return np.asarray(NAMES)[choice][inverse]


def divide_archive(
    path: Path, shares: tuple[float, ...], seed: int, *, force: bool = False
) -> dict[str, dict[str, int]]:
    """Store the column ``split`` in the archive at ``path``; counts by split.

    The archive is copied, changed and put in place at once. ``InputError`` when it has a split
    already and not ``force``, or cannot be written.
    """
    columns = read_columns(path)
    if (columns.split != "").any() and not force:
        remedy = "keep it, or replace it with --force"
        raise InputError(f"{path} split", "an archive without a split", "one that has it", remedy)
    check_output(path.parent, "a place for a second copy", path.stat().st_size + _SPARE)
    split = divide_patients(columns, shares, seed)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            copy = Path(folder) / path.name
            shutil.copy2(path, copy)
            make_room(copy.parent, 64 * len(columns) + (1 << 16))
            with h5py.File(copy, "r+") as file:
                if "split" in file:
                    del file["split"]
                file["split"] = split.astype(h5py.string_dtype())
            copy.replace(path)
    except OSError as error:
        got = error.strerror or "an error on writing"
        remedy = "make room beside it, or the folder writable"
        raise InputError(str(path), "a place for a second copy", got, remedy) from None
    return _counts(columns, split)


def _fill_empty(choice: np.ndarray, shares: tuple[float, ...], order: np.ndarray) -> None:
    """A split with a share and no patient takes one of the largest split's."""
    for number, share in enumerate(shares):
        if share > 0 and not (choice == number).any():
            largest = int(np.bincount(choice).argmax())
            choice[next(p for p in order if choice[p] == largest)] = number


def _counts(columns: Columns, split: np.ndarray) -> dict[str, dict[str, int]]:
    told = {}
    for name in NAMES:
        inside = split == name
        if not inside.any():
            continue
        patients = set(columns.patients[inside].tolist())
        told[name] = {"patients": len(patients), "slices": int(inside.sum())}
        if columns.labels is not None:
            labels = columns.labels.values[inside].sum(axis=0).tolist()
            told[name] |= Counter(dict(zip(columns.labels.names, labels)))
    return told
