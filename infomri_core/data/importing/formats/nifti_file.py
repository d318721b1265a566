"""NIfTI files on disk: opened in any spelling, unpacked within bounds, cut into planes."""

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infomri_core.data.importing.bounds import unpack_nifti
from infomri_core.data.importing.choice import PLANES
from infomri_core.data.importing.formats.extra import need
from infomri_core.data.importing.formats.orientation import Turn, find_turn
from infomri_core.data.importing.volume import Left

ENDINGS = (".nii", ".nii.gz")
DAMAGED = "damaged or truncated NIfTI file"


def opened(path: Path) -> Any:
    """The file with its header read; nibabel itself reads no ending that mixes capitals."""
    nibabel = need("nibabel")
    if path.name.endswith((*ENDINGS, *map(str.upper, ENDINGS), ".nii.GZ", ".NII.gz")):
        return nibabel.load(path)
    holder = {"image": nibabel.FileHolder(filename=str(path))}
    try:
        return nibabel.Nifti1Image.from_file_map(holder)
    except nibabel.spatialimages.HeaderDataError:
        return nibabel.Nifti2Image.from_file_map(holder)


@dataclass(frozen=True)
class Cut:
    """How a volume is sliced: array axes (columns, rows, slices), the turn of each slice, whether
    slices run backwards, and how many there are."""

    axes: tuple[int, int, int]
    turn: Turn
    backwards: bool
    depth: int

    @property
    def numbers(self) -> range:
        """The file's own numbers of its slices, in the order in which they are stored here."""
        return range(self.depth - 1, -1, -1) if self.backwards else range(self.depth)


def find_cut(affine: np.ndarray, shape: tuple[int, ...], plane: str) -> Cut:
    """Across ``plane``, by default across the axis of the longest voxels.

    The affine maps voxels to RAS (x to the right, y to the front); DICOM's frame is LPS.
    """
    directions = np.diag([-1.0, -1.0, 1.0]) @ np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(directions, axis=0)
    unit = directions / np.where(lengths > 0, lengths, 1.0)
    across = int(np.argmax(np.round(lengths, 3)[::-1]))
    through = 2 - across
    if plane in PLANES:
        through = int(np.argmax(np.abs(unit[PLANES.index(plane)])))
    columns, rows = (axis for axis in range(3) if axis != through)
    turn = find_turn(unit[:, columns], unit[:, rows])
    backwards = bool(unit[:, through] @ np.asarray(turn.slice_direction) < 0)
    depth = shape[through] if len(shape) > through else 1
    return Cut((columns, rows, through), turn, backwards, depth)


def planes(path: Path, cut: Cut, scratch: Path) -> Iterator[np.ndarray | Left]:
    """Slice by slice (H, W), not turned yet, or why one is missing; of further axes the first. A
    compressed file is unpacked to ``scratch`` first, since a slice across another axis than the
    last would unpack all of it."""
    nibabel = need("nibabel")
    try:
        data = nibabel.load(_unpacked(opened(path), path, scratch)).dataobj
    except (OSError, EOFError, zlib.error, ValueError):
        yield from [Left(DAMAGED)] * cut.depth
        return
    for number in cut.numbers:
        index: list[Any] = [slice(None)] * 3 + [0] * (len(data.shape) - 3)
        index[cut.axes[2]] = number
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                plane = np.asarray(data[tuple(index[: len(data.shape)])])
        except (OSError, EOFError, ValueError, zlib.error):
            yield Left(DAMAGED)
            continue
        # The two axes left stand in the order of the array, columns before rows: (W, H).
        yield plane.reshape(plane.shape[0], -1).T


def _unpacked(image: Any, path: Path, scratch: Path) -> Path:
    if path.suffix.lower() != ".gz" and path.suffix == ".nii":
        return path
    plain = scratch / "volume.nii"
    if path.suffix.lower() != ".gz":
        plain.symlink_to(path.absolute())
        return plain
    unpack_nifti(path, plain, image)
    return plain
