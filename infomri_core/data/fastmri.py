"""fastMRI single-coil volumes (Zbontar et al. 2018), read slice by slice from k-space."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import h5py
import numpy as np
import torch

from infomri_core.data import annotations
from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.data.hdf5 import open_hdf5
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.data.split import check_split, split_patients
from infomri_core.data.uri import DataUri, Selection, at_least, one_of, read_options
from infomri_core.errors import InputError
from infomri_core.kspace import ifft2c

MAX_OPEN_FILES = 64
SPLIT_FOLDERS = ("train", "val", "test")


@dataclass(frozen=True)
class FastMriOptions(Selection):
    """``labels`` and ``files`` are fastMRI+ tables, looked for in the data folder, then here.

    ``names`` chooses labels. ``crop`` says where the centre ``size`` x ``size`` is cut, in
    'kspace' (low resolution, whole field of view) or in the 'image' (full resolution).
    ``acquisition`` keeps the volumes of one protocol, e.g. CORPD_FBK.
    """

    labels: str = ""
    files: str = ""
    names: tuple[str, ...] = ()
    crop: str = "kspace"
    size: int = 128
    acquisition: str = ""


@dataclass(frozen=True)
class Volume:
    """One file: its k-space is (n_slices, H, W)."""

    path: Path
    patient: str
    split: str
    n_slices: int


@final
class FastMriDataset(SliceDataset):
    """Magnitude images made from single slices of k-space; a bounded number of files stay open.

    One slice costs one slice's reading. A volume's scale is computed once, when one of its slices
    is first asked for, by streaming its slices.
    """

    def __init__(
        self, volumes: tuple[Volume, ...], table: SliceTable, crop: str, size: int
    ) -> None:
        self._volumes = volumes
        self._crop = crop
        self._first = np.cumsum([0, *(volume.n_slices for volume in volumes)])
        self._scales = np.full(len(volumes), np.nan)
        self._open: OrderedDict[Path, h5py.File] = OrderedDict()
        self.table = table
        self.shape = (size, size)

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        out = np.empty((len(rows), *self.shape), dtype=np.float32)
        for place in np.argsort(rows):
            number, index = self._locate(rows[place])
            out[place] = normalise(self._magnitude(number, index), self._scale(number))
        return torch.from_numpy(out)

    def check(self, indices: np.ndarray) -> None:
        """Read the middle slice of every volume; ``InputError`` on NaN or all-zero k-space."""
        for number in sorted({self._locate(row)[0] for row in indices}):
            middle = self._magnitude(number, self._volumes[number].n_slices // 2)
            volume_scale([middle], 1, f"{self._volumes[number].path} kspace")

    def _locate(self, row: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._first, row, side="right")) - 1
        return number, int(row - self._first[number])

    def _scale(self, number: int) -> float:
        if np.isnan(self._scales[number]):
            volume = self._volumes[number]
            stream = (self._magnitude(number, i) for i in range(volume.n_slices))
            self._scales[number] = volume_scale(stream, volume.n_slices, f"{volume.path} kspace")
        return float(self._scales[number])

    def _magnitude(self, number: int, index: int) -> np.ndarray:
        path = self._volumes[number].path
        try:
            kspace = self._file(path)["kspace"][index]
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{path} kspace slice {index}", "readable k-space", str(error), "copy it again"
            ) from None
        return magnitude(kspace, self._crop, self.shape[0])

    def _file(self, path: Path) -> h5py.File:
        if path not in self._open:
            if len(self._open) >= MAX_OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            self._open[path] = open_hdf5(path)
        self._open.move_to_end(path)
        return self._open[path]


def magnitude(kspace: np.ndarray, crop: str, size: int) -> np.ndarray:
    """|F^H k| (size, size) of one slice of k-space (H, W), cropped about the zero frequency
    (``crop`` 'kspace') or about the middle of the image ('image').

    Zero-padded columns are part of the grid: dropping them would move the zero frequency.
    """
    signal = torch.from_numpy(np.asarray(kspace, dtype=np.complex64))
    if crop == "kspace":
        return ifft2c(_centre(signal, size)).abs().numpy()
    return _centre(ifft2c(signal).abs(), size).numpy()


def open_fastmri(uri: DataUri) -> tuple[SliceDataset, Selection]:
    """The volumes at a ``fastmri:DIR`` URI: DIR/*.h5, or DIR/..._train, _val and _test folders.

    With a label table, only annotated volumes are opened: one that no annotator saw is no
    negative.
    """
    options = read_options(FastMriOptions, uri)
    one_of(options.crop, ("kspace", "image"), uri.text, "crop")
    at_least(options.size, 8, uri.text, "size")
    folder = Path(uri.path).expanduser()
    found = _find_files(folder)
    names: tuple[str, ...] = ()
    groups: dict[str, frozenset[str]] = {}
    table: tuple[annotations.Annotation, ...] = ()
    if options.labels:
        path = _beside(folder, options.labels)
        table = annotations.read_annotations(path)
        found = _annotated(found, table, _file_list(folder, path, options.files), path)
        groups = annotations.group_labels(table, options.names, str(path))
        names = tuple(groups)
    volumes = _read_volumes(found, options)
    values = _labels(volumes, table, groups, options.labels)
    return FastMriDataset(
        volumes, _table(volumes, values, names, str(folder)), options.crop, options.size
    ), options


def _find_files(folder: Path) -> list[tuple[Path, str]]:
    if not folder.is_dir():
        raise InputError(
            str(folder), "a folder of .h5 volumes", "no such folder", "check the path"
        )
    found = [(path, "") for path in sorted(folder.glob("*.h5"))]
    for split in SPLIT_FOLDERS:
        for pattern in (split, f"*_{split}"):
            found += [(path, split) for path in sorted(folder.glob(f"{pattern}/*.h5"))]
    if not found:
        raise InputError(str(folder), "volumes (*.h5)", "none", "check the path")
    if len({bool(split) for _, split in found}) > 1:
        raise InputError(
            str(folder),
            "volumes in split folders or in the folder itself",
            "both",
            "move the loose volumes into a split folder",
        )
    return found


def _annotated(
    found: list[tuple[Path, str]],
    table: tuple[annotations.Annotation, ...],
    file_list: Path | None,
    where: Path,
) -> list[tuple[Path, str]]:
    if file_list is None:
        here = frozenset(path.stem for path, _ in found)
        annotations.check_volumes(table, here, str(where), "the data folder")
        seen = frozenset(a.volume for a in table)
    else:
        seen = annotations.read_file_list(file_list)
        annotations.check_volumes(table, seen, str(where), f"the list {file_list.name}")
    kept = [(path, split) for path, split in found if path.stem in seen]
    if not kept:
        raise InputError(
            str(where),
            "annotations of the volumes in the folder",
            f"none of {len(found)} ('{found[0][0].stem}' ...)",
            "check that labels and volumes belong together",
        )
    return kept


def _file_list(folder: Path, labels: Path, files: str) -> Path | None:
    if files:
        return _beside(folder, files)
    beside = labels.with_name(f"{labels.stem}_file_list.csv")
    return beside if beside.is_file() else None


def _beside(folder: Path, name: str) -> Path:
    inside = folder / Path(name).expanduser()
    return inside if inside.is_file() else Path(name).expanduser()


def _read_volumes(found: list[tuple[Path, str]], options: FastMriOptions) -> tuple[Volume, ...]:
    volumes, protocols = [], set()
    for path, split in found:
        with open_hdf5(path) as file:
            volume = _read_volume(path, file, split, options)
            protocol = str(file.attrs.get("acquisition", ""))
        protocols.add(protocol)
        if options.acquisition in ("", protocol):
            volumes.append(volume)
    if not volumes:
        listed = ", ".join(sorted(protocols))
        raise InputError(
            "acquisition", "a protocol of the data", f"'{options.acquisition}'", f"use {listed}"
        )
    return tuple(volumes)


def _read_volume(path: Path, file: h5py.File, split: str, options: FastMriOptions) -> Volume:
    if "kspace" not in file:
        raise InputError(
            str(path), "a data set 'kspace'", ", ".join(file) or "none", "use fastMRI volumes"
        )
    kspace = file["kspace"]
    if kspace.ndim != 3 or kspace.dtype.kind != "c" or kspace.shape[0] == 0:
        raise InputError(
            f"{path} kspace",
            "complex single-coil k-space (slices, H, W)",
            f"{kspace.dtype} {kspace.shape}",
            "use the single-coil volumes",
        )
    if min(kspace.shape[1:]) < options.size:
        raise InputError(
            f"{path} kspace",
            f"at least {options.size} x {options.size} points a slice",
            f"{kspace.shape[1]} x {kspace.shape[2]}",
            f"use size={min(kspace.shape[1:])} or smaller",
        )
    if "patient_id" not in file.attrs:
        raise InputError(
            str(path),
            "an attribute 'patient_id'",
            ", ".join(file.attrs) or "none",
            "splits are by patient; add the attribute",
        )
    return Volume(path, str(file.attrs["patient_id"]), split, int(kspace.shape[0]))


def _labels(
    volumes: tuple[Volume, ...],
    table: tuple[annotations.Annotation, ...],
    groups: dict[str, frozenset[str]],
    where: str,
) -> np.ndarray:
    n_slices = {volume.path.stem: volume.n_slices for volume in volumes}
    by_volume = annotations.slice_labels(table, groups, n_slices, where)
    return np.concatenate([by_volume[volume.path.stem] for volume in volumes])


def _table(
    volumes: tuple[Volume, ...], labels: np.ndarray, names: tuple[str, ...], where: str
) -> SliceTable:
    counts = [volume.n_slices for volume in volumes]
    patients = np.repeat([volume.patient for volume in volumes], counts)
    split = np.repeat([volume.split for volume in volumes], counts)
    if volumes[0].split:
        check_split(patients, split, where)
    else:
        split = split_patients(patients)
    position = [np.arange(n) / max(n - 1, 1) for n in counts]
    return SliceTable(
        patients=patients,
        labels=labels,
        label_names=names,
        exclusive=False,
        split=split,
        hospital=np.full(len(patients), "H1"),
        position=np.concatenate(position),
    )


def _centre(plane: torch.Tensor, size: int) -> torch.Tensor:
    top, left = (n // 2 - size // 2 for n in plane.shape)
    return plane[top : top + size, left : left + size]
