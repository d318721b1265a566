"""Mosaics: the slices of a volume as tiles of one picture, row by row from the upper left.

Siemens' header says how many (NumberOfImagesInMosaic, in (0019,xx0A) or the CSA header
(0029,xx10)); the grid is the smallest square that holds them, and the last tiles may be empty.
United Imaging's GRID (VFRAME) says it in (0065,xx50), has as many rows as are needed, and names
each slice's place in (0065,xx51).
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from infomri_core.data.importing.formats.dicom.kind import many, private, whole

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

UNKNOWN_TILES = "several slices in one picture (mosaic whose header does not say how)"
_COUNT = (0x0019, 0x0A, ("SIEMENS",))
_UIH = ("IMAGE PRIVATE HEADER", "UIH", "UNITED")
_GRID, _PLACES = (0x0065, 0x50, _UIH), (0x0065, 0x51, _UIH)
_CSA = (0x0029, 0x10, ("SIEMENS CSA HEADER",))


@dataclass(frozen=True)
class Mosaic:
    """``n`` tiles of shape ``tile`` (H, W), ``grid`` of them in a row; ``step`` is the vector from
    a slice to the next, mm in the patient's frame, (3,). ``origins`` are the slices' own places,
    (n, 3), where the header has them."""

    n: int
    grid: int
    tile: tuple[int, int]
    step: np.ndarray
    origins: np.ndarray | None = None

    def corner(self, number: int) -> tuple[int, int]:
        """Row and column of a tile's upper left pixel."""
        return (number // self.grid * self.tile[0], number % self.grid * self.tile[1])


def is_mosaic(dataset: "Dataset") -> bool:
    """Whether the header calls the picture a mosaic."""
    kinds = {str(part).strip().upper() for part in many(dataset.get("ImageType"))}
    return bool(kinds & {"MOSAIC", "VFRAME"}) or (_private_count(dataset) or 0) > 1


def read_mosaic(dataset: "Dataset") -> Mosaic | str:
    """How the tiles lie, or why that is not known: no count, a grid that does not divide the
    picture, or tiles that are not of the acquired matrix."""
    csa = dict(_csa(dataset))
    count = _private_count(dataset) or int(_first(csa.get("NumberOfImagesInMosaic")) or 0)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    grid = math.isqrt(max(count - 1, 0)) + 1
    if count < 1:
        return UNKNOWN_TILES
    high = -(-count // grid) if any(private(dataset, *_GRID)) else grid
    if rows % high or columns % grid:
        return UNKNOWN_TILES
    tile = (rows // high, columns // grid)
    matrix = [int(m) for m in many(dataset.get("AcquisitionMatrix")) if int(m)]
    # Interpolation doubles the matrix, and a rectangular field of view shortens one side.
    if matrix and not set(tile) & {m * factor for m in matrix for factor in (1, 2)}:
        return UNKNOWN_TILES
    step = _step(dataset, csa.get("SliceNormalVector", []))
    return Mosaic(count, grid, tile, step, _origins(dataset, count))


def _origins(dataset: "Dataset", count: int) -> np.ndarray | None:
    for items in private(dataset, *_PLACES):
        try:
            places = [[float(v) for v in item.ImagePositionPatient] for item in items]
        except (AttributeError, TypeError, ValueError):
            continue
        if np.shape(places) == (count, 3):
            return np.array(places)
    return None


def _step(dataset: "Dataset", stored: list[str]) -> np.ndarray:
    try:
        directions = np.array([float(v) for v in dataset.ImageOrientationPatient])
        normal = np.cross(directions[:3], directions[3:])
        given = np.array([float(v) for v in stored[:3]])
    except (AttributeError, TypeError, ValueError):
        return np.zeros(3)
    if given.shape == (3,) and given @ normal < 0:
        normal = -normal
    spacing = dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1.0
    return normal * float(spacing)


def _private_count(dataset: "Dataset") -> int | None:
    for value in private(dataset, *_COUNT):
        return whole(value)
    for value in private(dataset, *_GRID):
        # A DS that an implicit file left as bytes.
        return whole(value.decode("ascii", "replace") if isinstance(value, bytes) else value)
    return None


def _csa(dataset: "Dataset") -> Iterator[tuple[str, list[str]]]:
    """Names and values of a CSA header: 'SV10', four bytes, their number and 77, then elements of
    name (64), vm, vr (4), type, items, 77 or 205, each item four numbers and padded text."""
    for data in private(dataset, *_CSA):
        if not isinstance(data, bytes) or len(data) < 16:
            continue
        start = 8 if data[:4] == b"SV10" else 0
        (n_elements,) = struct.unpack_from("<I", data, start)
        try:
            yield from _elements(data, start + 8, min(n_elements, 1000))
        except struct.error:
            return


def _elements(data: bytes, place: int, n_elements: int) -> Iterator[tuple[str, list[str]]]:
    for _ in range(n_elements):
        name = data[place : place + 64].split(b"\0")[0].decode("latin-1")
        (n_items,) = struct.unpack_from("<I", data, place + 76)
        place += 84
        values = []
        for _ in range(min(n_items, 1000)):
            (length,) = struct.unpack_from("<I", data, place + 4)
            text = data[place + 16 : place + 16 + length]
            values.append(text.split(b"\0")[0].decode("latin-1").strip())
            place += 16 + (length + 3) // 4 * 4
        yield name, [value for value in values if value]


def _first(values: Any) -> str:
    return values[0] if values and values[0].isdecimal() else ""
