"""Turning slices so that the same anatomy lies the same way, by transposing and mirroring only.

Directions are unit vectors in DICOM's patient frame (PS3.3 C.7.6.2.1.1): x to the patient's left,
y to the back, z to the head. Pictures are shown as radiologists see them:

    axial      columns run to the left, rows to the back, slices from the feet to the head
    coronal    columns run to the left, rows to the feet, slices from the front to the back
    sagittal   columns run to the back, rows to the feet, slices from right to left

An oblique slice keeps its obliquity: it is turned to the nearest of these, never interpolated.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from infomri_core.data.importing.choice import PLANES

Number = TypeVar("Number", int, float)
_COLUMNS = {"axial": (1, 0, 0), "coronal": (1, 0, 0), "sagittal": (0, 1, 0)}
_ROWS = {"axial": (0, 1, 0), "coronal": (0, 0, -1), "sagittal": (0, 0, -1)}
_SLICES = {"axial": (0, 0, 1), "coronal": (0, 1, 0), "sagittal": (1, 0, 0)}


@dataclass(frozen=True)
class Turn:
    """How a slice is turned: transposed first, then mirrored."""

    plane: str
    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    slice_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The slice (H, W) turned; (W, H) when transposed."""
        image = image.T if self.transpose else image
        rows = slice(None, None, -1 if self.flip_rows else 1)
        return image[rows, :: -1 if self.flip_columns else 1]

    def undo(self, image: np.ndarray) -> np.ndarray:
        """The inverse of ``apply``, of the first two axes."""
        rows = slice(None, None, -1 if self.flip_rows else 1)
        image = image[rows, :: -1 if self.flip_columns else 1]
        return np.swapaxes(image, 0, 1) if self.transpose else image

    def pair(self, values: tuple[Number, Number]) -> tuple[Number, Number]:
        """(rows, columns) of something, such as spacing, after the turn."""
        return (values[1], values[0]) if self.transpose else values


UNKNOWN = Turn("unknown")


def find_turn(along_columns: np.ndarray, along_rows: np.ndarray) -> Turn:
    """The turn of a slice whose column index grows along ``along_columns`` and whose row index
    grows along ``along_rows`` (each (3,), patient frame); ``UNKNOWN`` if they span no plane."""
    normal = np.cross(along_columns, along_rows)
    lengths = np.linalg.norm([along_columns, along_rows, normal], axis=1)
    if not np.isfinite(lengths).all() or lengths.min() < 0.5:
        return UNKNOWN
    plane = PLANES[int(np.argmax(np.abs(normal)))]
    to_columns, to_rows = np.asarray(_COLUMNS[plane]), np.asarray(_ROWS[plane])
    straight = abs(along_columns @ to_columns) + abs(along_rows @ to_rows)
    crossed = abs(along_rows @ to_columns) + abs(along_columns @ to_rows)
    transpose = bool(crossed > straight)
    if transpose:
        along_columns, along_rows = along_rows, along_columns
    direction = normal * np.sign(normal @ np.asarray(_SLICES[plane]))
    return Turn(
        plane,
        transpose,
        flip_rows=bool(along_rows @ to_rows < 0),
        flip_columns=bool(along_columns @ to_columns < 0),
        slice_direction=(float(direction[0]), float(direction[1]), float(direction[2])),
    )
