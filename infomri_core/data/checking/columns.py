"""The columns of an archive that may be wrong: every defect is found, not only the first."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infomri_core.data.hdf5.guarded import Hdf5File, open_hdf5
from infomri_core.data.labels import Labels, array_labels, stored_exclusive, stored_names
from infomri_core.system.errors import InputError


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
        there = file.names()
        for name in ("image", "patient"):
            if name not in there:
                got = ", ".join(there[:20]) or "nothing"
                raise InputError(str(path), f"a data set '{name}'", got, "see docs/data.md")
        image = file.dataset("image")
        if image.ndim != 3 or image.dtype.kind not in "uif":
            got = f"{image.dtype} {image.shape}"
            raise InputError(
                f"{path} image", "numbers of shape (n, H, W)", got, "see docs/data.md"
            )
        if 0 in image.shape:
            raise InputError(f"{path} image", "at least one slice", "none", "import again")
        n, shape = len(image), (int(image.shape[1]), int(image.shape[2]))
        patients = file.array("patient")
        if patients.shape != (n,):
            got = f"shape {patients.shape}"
            raise InputError(f"{path} patient", f"{n} rows, as many as image", got, "import again")
        return _checked(path, file, shape, patients.astype(str))


def _checked(path: Path, file: Hdf5File, shape: tuple[int, int], patients: np.ndarray) -> Columns:
    n, defects = len(patients), list[str]()
    texts = {}
    for name, default in (("hospital", "H1"), ("split", "")):
        texts[name] = np.full(n, default)
        if name in file:
            column = file.array(name)
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


def _labels(path: Path, file: Hdf5File, n: int) -> Labels:
    if "label" not in file:
        raise InputError(str(path), "a data set 'label'", "none", "import with --labels")
    column, where = file.dataset("label"), f"{path} label"
    if column.shape[:1] != (n,):
        raise InputError(where, f"{n} rows", f"shape {column.shape}", "import again")
    names = stored_names(file.attribute(column, "names"), where)
    exclusive = stored_exclusive(file.attribute(column, "exclusive"), where)
    return array_labels(file.array("label"), where, names, exclusive)


def _divided(patients: np.ndarray, column: np.ndarray) -> list[str]:
    """Patients whose slices have several values in ``column``."""
    pairs = np.unique(np.stack([patients, column.astype(str)]), axis=1)
    names, counts = np.unique(pairs[0], return_counts=True)
    return [str(name) for name in names[counts > 1]]
