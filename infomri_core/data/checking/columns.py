"""The columns of an archive that may be wrong: every defect is found, not only the first."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from infomri_core.data.hdf5 import open_hdf5
from infomri_core.data.labels import Labels, array_labels
from infomri_core.errors import InputError


@dataclass(frozen=True)
class Columns:
    """Who, where and what, one a slice; ``labels`` is None when they cannot be read."""

    shape: tuple[int, int]
    patients: np.ndarray
    hospital: np.ndarray
    split: np.ndarray
    labels: Labels | None
    defects: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.patients)


def read_columns(path: Path) -> Columns:
    """The columns of the archive at ``path``; ``InputError`` if it has no images or patients of
    one length, so that nothing can be said of it."""
    with open_hdf5(path) as file:
        for name in ("image", "patient"):
            if name not in file:
                there = ", ".join(file) or "nothing"
                raise InputError(str(path), f"a data set '{name}'", there, "see docs/data.md")
        image = file["image"]
        if not isinstance(image, h5py.Dataset) or image.ndim != 3 or image.dtype.kind not in "uif":
            got = f"{getattr(image, 'dtype', 'a group')} {getattr(image, 'shape', '')}"
            raise InputError(
                f"{path} image", "numbers of shape (n, H, W)", got, "see docs/data.md"
            )
        if 0 in image.shape:
            raise InputError(f"{path} image", "at least one slice", "none", "import again")
        n, shape = len(image), (int(image.shape[1]), int(image.shape[2]))
        patients = _column(file, "patient")
        if patients.shape != (n,):
            got = f"shape {patients.shape}"
            raise InputError(f"{path} patient", f"{n} rows, as many as image", got, "mend it")
        return _checked(path, file, shape, patients.astype(str))


def _checked(path: Path, file: h5py.File, shape: tuple[int, int], patients: np.ndarray) -> Columns:
    n, defects = len(patients), list[str]()
    texts = {}
    for name, default in (("hospital", "H1"), ("split", "")):
        texts[name] = np.full(n, default)
        if name in file:
            column = _column(file, name)
            if column.shape == (n,):
                texts[name] = column.astype(str)
            else:
                defects.append(f"{name}: {n} rows expected, shape {column.shape} found")
        divided = _divided(patients, texts[name])
        if divided:
            shown = ", ".join(divided[:5]) + (", .." if len(divided) > 5 else "")
            defects.append(f"{len(divided)} patients in two {name}s: {shown}")
    unknown = sorted(set(texts["split"].tolist()) - {"train", "val", "test", ""})
    if unknown:
        defects.append(f"split: train, val or test expected, {', '.join(unknown[:3])} found")
    labels = None
    try:
        labels = _labels(path, file, n)
    except InputError as error:
        defects.append(f"label: expected {error.expected}, got {error.got}")
    return Columns(shape, patients, texts["hospital"], texts["split"], labels, tuple(defects))


def _labels(path: Path, file: h5py.File, n: int) -> Labels:
    if "label" not in file:
        raise InputError(str(path), "a data set 'label'", "none", "import with --labels")
    column = file["label"]
    if column.shape[:1] != (n,):
        raise InputError(f"{path} label", f"{n} rows", f"shape {column.shape}", "mend it")
    names = column.attrs.get("names", ())
    names = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
    exclusive = bool(column.attrs.get("exclusive", False))
    return array_labels(_column(file, "label"), f"{path} label", names, exclusive)


def _column(file: h5py.File, name: str) -> np.ndarray:
    column = file[name]
    text = h5py.check_string_dtype(column.dtype) is not None
    return np.asarray(column.asstr()[:] if text else column[:])


def _divided(patients: np.ndarray, column: np.ndarray) -> list[str]:
    """Patients whose slices have several values in ``column``."""
    pairs = np.unique(np.stack([patients, column.astype(str)]), axis=1)
    names, counts = np.unique(pairs[0], return_counts=True)
    return [str(name) for name in names[counts > 1]]
