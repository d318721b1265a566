"""Slice archives: one HDF5 file with columns ``image``, ``label``, ``patient`` and more, perhaps
outlines."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import h5py
import numpy as np
import torch

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.data.hdf5.guarded import Hdf5File, damage_refused, open_hdf5
from infomri_core.data.labels import array_labels, stored_exclusive, stored_names
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.data.outlines.majority import majority
from infomri_core.data.outlines.stored import StoredOutlines, stored_outlines
from infomri_core.data.split import check_split, split_patients
from infomri_core.data.uri import DataUri, Selection, read_options
from infomri_core.system.errors import InputError, nearest

REQUIRED = ("image", "patient")


@dataclass(frozen=True)
class SliceOptions(Selection):
    """``label`` is the column that holds the labels, ``names`` their names in order;
    ``exclusive`` reads 0/1 labels as two classes. ``hospitals_from`` is the column that says
    whose a slice is; by default ``hospital``, where there is one. ``outlines`` names the values
    1, 2, .. of the archive's ``mask`` or ``masks``; without it all that is not zero is one,
    'mask'."""

    label: str = "label"
    names: tuple[str, ...] = ()
    exclusive: bool = False
    hospitals_from: str = ""
    outlines: tuple[str, ...] = ()


@final
class SliceArchive(SliceDataset):
    """Slices read by index from an HDF5 file that stays open.

    A volume is all slices of a patient. Its scale is computed once, streaming, when one of its
    slices is first asked for; ``InputError`` then if it holds NaN or no signal.
    """

    def __init__(
        self,
        file: Hdf5File,
        images: h5py.Dataset,
        table: SliceTable,
        outlines: StoredOutlines | None = None,
    ) -> None:
        self._path = file.path
        # The file stays open as long as its images are in use.
        self._file, self._images, self._outlines = file, images, outlines
        if outlines is not None:
            self.mask_names, self.n_raters = outlines.names, outlines.n_raters
        self._patient_names, self._patient = np.unique(table.patients, return_inverse=True)
        self._scales = np.full(len(self._patient_names), np.nan)
        self.table = table
        self.shape = (int(self._images.shape[1]), int(self._images.shape[2]))

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        unique, inverse = np.unique(rows, return_inverse=True)
        raw = np.empty((len(unique), *self.shape), dtype=np.float32)
        for start, stop in _runs(unique):
            raw[start:stop] = self._read(unique[start], unique[stop - 1] + 1)
        scale = self.scales(self._patient[unique])[:, None, None]
        return torch.from_numpy(normalise(raw, scale)[inverse])

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Of several raters, what more than half of those outlined who looked at the slice."""
        if self._outlines is None:
            return super().masks(indices)
        return majority(self.ratings(indices))

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        if self._outlines is None:
            return super().ratings(indices)
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        return torch.from_numpy(self._outlines.read(rows))

    def scales(self, patients: np.ndarray) -> np.ndarray:
        """The grey value that becomes 1, for patients by number."""
        for number in np.unique(patients):
            if np.isnan(self._scales[number]):
                self._scales[number] = self._scale(int(number))
        return self._scales[patients]

    def check(self, indices: np.ndarray) -> None:
        """Read every volume that the rows belong to, once; ``InputError`` on NaN or no signal."""
        self.scales(self._patient[indices])

    def _scale(self, number: int) -> float:
        rows = np.flatnonzero(self._patient == number)
        where = f"{self._path} image, patient '{self._patient_names[number]}'"
        return volume_scale(self._stream(rows), len(rows), where)

    def _stream(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for start, stop in _runs(rows):
            for row in range(int(rows[start]), int(rows[stop - 1]) + 1, 64):
                yield from self._read(row, min(row + 64, int(rows[stop - 1]) + 1))

    def _read(self, start: int, stop: int) -> np.ndarray:
        with damage_refused(f"{self._path} image"):
            return np.asarray(self._images[start:stop])


def open_slices(uri: DataUri) -> tuple[SliceDataset, Selection]:
    """The slice archive at a ``slices:PATH`` URI, with its columns checked."""
    options = read_options(SliceOptions, uri)
    file = open_hdf5(Path(uri.path).expanduser(), max(options.limit_gib, 0.0))
    images = _images(file, options)
    table = _read_table(file, len(images), options)
    outlines = stored_outlines(file, images.shape, options.outlines)
    if outlines is not None:
        table = replace(table, outlined=np.asarray(outlines.present.any(1)))
    return SliceArchive(file, images, table, outlines), options


def _read_table(file: Hdf5File, n_slices: int, options: SliceOptions) -> SliceTable:
    patients = _text(file, "patient", n_slices)
    hospital = np.full(n_slices, "H1")
    if options.hospitals_from or "hospital" in file:
        hospital = _text(file, options.hospitals_from or "hospital", n_slices)
    position = np.full(n_slices, np.nan)
    if "relative_position" in file:
        position = _positions(file, n_slices)
    column, where = file.dataset(options.label), f"{file.path} {options.label}"
    labels = array_labels(
        _column(file, options.label, n_slices),
        where,
        options.names or stored_names(file.attribute(column, "names"), where),
        options.exclusive or stored_exclusive(file.attribute(column, "exclusive"), where),
    )
    split = np.full(n_slices, "train")
    if "split" in file:
        split = _text(file, "split", n_slices)
        check_split(patients, split, str(file.path))
    if "val" not in split:
        split = np.where(split == "train", split_patients(patients, groups=hospital), split)
    return SliceTable(
        patients, labels.values, labels.names, labels.exclusive, split, hospital, position
    )


def _images(file: Hdf5File, options: SliceOptions) -> h5py.Dataset:
    there = file.names()
    for name in filter(None, (*REQUIRED, options.label, options.hospitals_from)):
        if name not in file:
            hint = nearest(name, there) or f"the file has {', '.join(there[:20]) or 'none'}"
            raise InputError(str(file.path), f"a data set '{name}'", "none", hint)
    image = file.dataset("image")
    if image.ndim != 3 or image.dtype.kind not in "uif" or 0 in image.shape:
        raise InputError(
            f"{file.path} image",
            "real numbers of shape (n, H, W)",
            f"{image.dtype} {image.shape}",
            "store magnitude images of one shape",
        )
    if min(image.shape[1:]) < 2:
        got = f"{image.shape[1]} x {image.shape[2]} points: spectra?"
        raise InputError(f"{file.path} image", "images", got, "store images, not spectra")
    return image


def _column(file: Hdf5File, name: str, n_slices: int) -> np.ndarray:
    shape = file.dataset(name).shape
    if shape[:1] != (n_slices,):
        raise InputError(
            f"{file.path} {name}",
            f"{n_slices} rows, as many as image",
            f"shape {shape}",
            "give each slice one row",
        )
    return file.array(name)


def _text(file: Hdf5File, name: str, n_slices: int) -> np.ndarray:
    column = _column(file, name, n_slices)
    if column.ndim != 1:
        raise InputError(
            f"{file.path} {name}", "one name a slice", f"shape {column.shape}", "store one column"
        )
    return column.astype(str)


def _positions(file: Hdf5File, n_slices: int) -> np.ndarray:
    column, where = _column(file, "relative_position", n_slices), f"{file.path} relative_position"
    if column.ndim != 1 or column.dtype.kind not in "uif":
        got = f"{column.dtype} {column.shape}"
        raise InputError(where, "one number a slice", got, "store one column of numbers")
    return column.astype(np.float64)


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Bounds, within increasing ``rows``, of the stretches without a gap."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    return list(itertools.pairwise(edges))
