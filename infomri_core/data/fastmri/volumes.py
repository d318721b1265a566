"""fastMRI single-coil volumes (Zbontar et al. 2018), read slice by slice from k-space."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import h5py
import numpy as np
import torch

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.data.fastmri import annotations
from infomri_core.data.fastmri.files import annotated, beside, file_list, find_files
from infomri_core.data.hdf5.guarded import Hdf5File, damage_refused, open_hdf5
from infomri_core.data.measured import check_complete, check_mask
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.data.split import check_split, split_patients
from infomri_core.data.uri import DataUri, Selection, at_least, one_of, read_options
from infomri_core.physics.kspace import ifft2c
from infomri_core.system.errors import InputError

MAX_OPEN_FILES = 64


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
        self, volumes: tuple[Volume, ...], table: SliceTable, options: FastMriOptions
    ) -> None:
        self._volumes = volumes
        self._limit = options.limit_gib
        self._crop = options.crop
        self._first = np.cumsum([0, *(volume.n_slices for volume in volumes)])
        self._scales = np.full(len(volumes), np.nan)
        self._open: OrderedDict[Path, tuple[Hdf5File, h5py.Dataset]] = OrderedDict()
        self.table = table
        self.shape = (options.size, options.size)

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        out = np.empty((len(rows), *self.shape), dtype=np.float32)
        for place in np.argsort(rows):
            number, index = self._locate(rows[place])
            out[place] = normalise(self._magnitude(number, index), self._scale(number))
        return torch.from_numpy(out)

    def check(self, indices: np.ndarray) -> None:
        """Read the middle slice of every volume; ``InputError`` on NaN, all-zero or undersampled
        k-space."""
        for number in sorted({self._locate(row)[0] for row in indices}):
            where, index = f"{self._volumes[number].path}", self._volumes[number].n_slices // 2
            check_complete(self._kspace(number, index), f"{where} kspace slice {index}")
            volume_scale([self._magnitude(number, index)], 1, f"{where} kspace")

    def _locate(self, row: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._first, row, side="right")) - 1
        return number, int(row - self._first[number])

    def _scale(self, number: int) -> float:
        if np.isnan(self._scales[number]):
            volume = self._volumes[number]
            stream = (self._checked(number, i) for i in range(volume.n_slices))
            self._scales[number] = volume_scale(stream, volume.n_slices, f"{volume.path} kspace")
        return float(self._scales[number])

    def _checked(self, number: int, index: int) -> np.ndarray:
        where = f"{self._volumes[number].path} kspace slice {index}"
        check_complete(self._kspace(number, index), where)
        return self._magnitude(number, index)

    def _magnitude(self, number: int, index: int) -> np.ndarray:
        return magnitude(self._kspace(number, index), self._crop, self.shape[0])

    def _kspace(self, number: int, index: int) -> np.ndarray:
        path = self._volumes[number].path
        kspace = self._stored(path)
        with damage_refused(f"{path} kspace slice {index}"):
            return np.asarray(kspace[index])

    def _stored(self, path: Path) -> h5py.Dataset:
        if path not in self._open:
            if len(self._open) >= MAX_OPEN_FILES:
                self._open.popitem(last=False)[1][0].close()
            file = open_hdf5(path, self._limit)
            self._open[path] = (file, file.dataset("kspace"))
        self._open.move_to_end(path)
        return self._open[path][1]


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
    options.check(uri.text)
    one_of(options.crop, ("kspace", "image"), uri.text, "crop")
    at_least(options.size, 8, uri.text, "size")
    folder = Path(uri.path).expanduser()
    found = find_files(folder)
    names: tuple[str, ...] = ()
    groups: dict[str, frozenset[str]] = {}
    table: tuple[annotations.Annotation, ...] = ()
    if options.labels:
        path = beside(folder, options.labels)
        table = annotations.read_annotations(path)
        found = annotated(found, table, file_list(folder, path, options.files), path)
        groups = annotations.group_labels(table, options.names, str(path))
        names = tuple(groups)
    volumes = _read_volumes(found, options)
    values = _labels(volumes, table, groups, options.labels)
    return FastMriDataset(volumes, _table(volumes, values, names, str(folder)), options), options


def _read_volumes(found: list[tuple[Path, str]], options: FastMriOptions) -> tuple[Volume, ...]:
    volumes, protocols = [], set()
    for path, split in found:
        with open_hdf5(path, options.limit_gib) as file:
            volume = _read_volume(path, file, split, options)
            protocol = _text(file, "acquisition")
        protocols.add(protocol)
        if options.acquisition in ("", protocol):
            volumes.append(volume)
    if not volumes:
        listed = ", ".join(sorted(protocols))
        raise InputError(
            "acquisition", "a protocol of the data", f"'{options.acquisition}'", f"use {listed}"
        )
    return tuple(volumes)


def _read_volume(path: Path, file: Hdf5File, split: str, options: FastMriOptions) -> Volume:
    there = file.names()
    if "kspace" not in there:
        got = ", ".join(there[:20]) or "none"
        raise InputError(str(path), "a data set 'kspace'", got, "use fastMRI volumes")
    kspace = file.dataset("kspace")
    if kspace.ndim != 3 or kspace.dtype.kind != "c" or 0 in kspace.shape:
        remedy = "use the single-coil volumes"
        if kspace.ndim == 4:
            remedy = (
                "several coils: store the images (reconstruction_rss) as a slice archive, or "
                "take the single-coil volumes where the study has them"
            )
        expected = "complex single-coil k-space (slices, H, W)"
        raise InputError(f"{path} kspace", expected, f"{kspace.dtype} {kspace.shape}", remedy)
    check_mask(file)
    if min(kspace.shape[1:]) < options.size:
        raise InputError(
            f"{path} kspace",
            f"at least {options.size} x {options.size} points a slice",
            f"{kspace.shape[1]} x {kspace.shape[2]}",
            f"use size={min(kspace.shape[1:])} or smaller",
        )
    patient = _text(file, "patient_id")
    if not patient:
        raise InputError(
            str(path),
            "an attribute 'patient_id'",
            ", ".join(file.attributes[:20]) or "none",
            "splits are by patient; add the attribute",
        )
    return Volume(path, patient, split, int(kspace.shape[0]))


def _text(file: Hdf5File, name: str) -> str:
    """An attribute of the file as text, whether it is stored as text, bytes or a number."""
    value = file.attribute(None, name)
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "" if text is None else str(text).strip()


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
