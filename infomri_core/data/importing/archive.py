"""Writing the archive: the rows of volumes that stand ready, and their columns."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from infomri_core.data.hdf5.guarded import make_room
from infomri_core.data.importing.staging import TOP, Part
from infomri_core.data.importing.tables.label_table import Kind, LabelTable, Row
from infomri_core.data.outlines.stored import ONE, PRESENT, SEVERAL

_ROW, _HEAD = 256, 1 << 16


@dataclass(frozen=True)
class Entry:
    """A volume that goes into the archive: ``rows`` of the label table for the part's slices,
    None where a slice is left out; ``present`` which raters outlined it."""

    code: str
    plane: str
    part: Part
    positions: tuple[float, ...]
    rows: tuple[Row | None, ...]
    present: tuple[bool, ...] = ()

    def chosen(self) -> list[tuple[int, Row]]:
        """(index within the part, row) of the slices that are stored."""
        return [(i, row) for i, row in enumerate(self.rows) if row is not None]


def write_archive(
    path: Path,
    entries: Sequence[Entry],
    shape: tuple[int, int],
    table: LabelTable | None,
    hospital: str,
    step: Callable[[], None],
    outlines: tuple[str, ...] = (),
) -> None:
    """Write ``entries`` to a new file at ``path``; ``step`` is called once an entry.

    Images are uint16, 65535 the value that becomes 1, compressed slice by slice. Nothing but the
    columns of docs/data.md is stored: no time, no path, no header. Others than the owner's group
    may not read it. Where the entries have raters their outlines are stored, under the names
    ``outlines`` if there are any. ``OSError`` if there is no room, judged before compression.
    """
    n = sum(len(entry.chosen()) for entry in entries)
    n_raters = len(entries[0].present) if entries else 0
    make_room(path.parent, n * ((2 + n_raters) * shape[0] * shape[1] + _ROW) + _HEAD)
    with h5py.File(path, "w") as file:
        image = file.create_dataset(
            "image", (n, *shape), np.uint16, chunks=(1, *shape), compression=1, shuffle=True
        )
        image.attrs["scale"] = np.float64(TOP)
        masks = _masks(file, n, n_raters, shape, outlines) if n_raters else None
        start = 0
        for entry in entries:
            wanted = [i for i, _ in entry.chosen()]
            stop = start + len(wanted)
            for row, slice_image in _these(entry.part.images(), wanted, start):
                image[row] = slice_image
            if masks is not None:
                for row, labels in _these(entry.part.outlines(), wanted, start):
                    masks[row] = labels if n_raters > 1 else labels[0]
            start = stop
            step()
        if n_raters and not all(all(entry.present) for entry in entries):
            file[PRESENT] = np.array([e.present for e in entries for _ in e.chosen()], np.uint8)
        _write_columns(file, entries, table, hospital)
    path.chmod(0o640)
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _masks(
    file: h5py.File, n: int, n_raters: int, shape: tuple[int, int], names: tuple[str, ...]
) -> h5py.Dataset:
    form = (n, *shape) if n_raters == 1 else (n, n_raters, *shape)
    chunk = (1,) * (len(form) - 2) + shape
    name = ONE if n_raters == 1 else SEVERAL
    found = file.create_dataset(name, form, np.uint8, chunks=chunk, compression=1, shuffle=True)
    if names:
        found.attrs["names"] = np.array(names, dtype=h5py.string_dtype())
    return found


def _these(
    slices: Iterable[np.ndarray], wanted: list[int], start: int
) -> Iterator[tuple[int, np.ndarray]]:
    rows = {i: start + k for k, i in enumerate(wanted)}
    return ((rows[i], found) for i, found in enumerate(slices) if i in rows)


def _write_columns(
    file: h5py.File, entries: Sequence[Entry], table: LabelTable | None, hospital: str
) -> None:
    chosen = [(entry, i, row) for entry in entries for i, row in entry.chosen()]
    file["patient"] = _text([entry.code for entry, _, _ in chosen])
    file["relative_position"] = np.array(
        [entry.positions[entry.part.kept[i]] for entry, i, _ in chosen], dtype=np.float32
    )
    hospitals = [row.hospital or hospital for _, _, row in chosen]
    if any(hospitals):
        file["hospital"] = _text(hospitals)
    splits = [row.split for _, _, row in chosen]
    if any(splits):
        file["split"] = _text(splits)
    if table is None:
        file["label"] = np.zeros((len(chosen), 0), dtype=np.uint8)
        return
    values: Any = table.array([row.labels or () for _, _, row in chosen])
    file["label"] = _text(values.tolist()) if table.kind is Kind.WORDS else values
    if table.kind is Kind.BINARY:
        file["label"].attrs["names"] = np.array(table.names, dtype=h5py.string_dtype())


def _text(values: Sequence[str]) -> np.ndarray:
    return np.array(values, dtype=h5py.string_dtype())
