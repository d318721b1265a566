"""Where a scan came from, so that what is made of it can be put back on the scanner's own grid."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.header import Header
from infomri_core.data.importing.formats.dicom.scan import scan_series
from infomri_core.data.importing.formats.extra import need
from infomri_core.data.importing.formats.nifti_file import Cut, find_cut, opened, planes
from infomri_core.data.importing.formats.nifti_kind import not_a_volume
from infomri_core.data.importing.volume import Frame, Journal, Left, Volume
from infomri_core.system.errors import InputError

NIFTI_ENDINGS = (".nii", ".nii.gz")
DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
_MIRROR = np.diag([-1.0, -1.0, 1.0, 1.0])


class Origin(ABC):
    """How the slices of a scan lay before they were turned."""

    @abstractmethod
    def placed(self, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slices (n, H, W, ...) as a NIfTI volume (X, Y, Z, ...) and its affine (4, 4) to RAS mm:
        the input's own."""


@final
@dataclass(frozen=True)
class NiftiOrigin(Origin):
    """A NIfTI file's grid."""

    affine: np.ndarray
    cut: Cut

    def placed(self, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        undone = np.stack([self.cut.turn.undo(one) for one in slices])
        back = undone[::-1] if self.cut.backwards else undone
        # (n, rows, columns) to the array's own axes.
        columns, rows, through = self.cut.axes
        return np.moveaxis(back, (0, 1, 2), (through, rows, columns)), self.affine


@final
@dataclass(frozen=True)
class DicomOrigin(Origin):
    """The frames of one DICOM series, in the order of the slices; ``origins`` (n, 3) and
    ``directions`` (2, 3), along columns and rows, in DICOM's frame (LPS, mm)."""

    headers: tuple[Header, ...]
    origins: np.ndarray
    directions: np.ndarray

    def undone(self, slices: np.ndarray) -> np.ndarray:
        """Slices (n, H, W, ...) as the series' frames lie."""
        return np.stack([h.turn.undo(one) for h, one in zip(self.headers, slices)])

    def placed(self, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows_apart, columns_apart = self.headers[0].spacing
        affine = np.eye(4)
        affine[:3, 0] = self.directions[0] * columns_apart
        affine[:3, 1] = self.directions[1] * rows_apart
        step = np.cross(*self.directions)
        if len(self.origins) > 1:
            step = (self.origins[-1] - self.origins[0]) / (len(self.origins) - 1)
        affine[:3, 2], affine[:3, 3] = step, self.origins[0]
        return np.moveaxis(self.undone(slices), (0, 1, 2), (2, 1, 0)), _MIRROR @ affine


def is_volume(path: Path) -> bool:
    """Whether the input is a NIfTI file, or a DICOM file or folder."""
    # A pipe of such a name, opened, would wait for a writer for ever.
    named = path.name.lower().endswith((*NIFTI_ENDINGS, *DICOM_ENDINGS))
    return path.is_dir() or (named and path.is_file())


def read_volume(path: Path) -> tuple[np.ndarray, Origin]:
    """The slices (n, H, W) float32 of a NIfTI file, a DICOM file, or a folder with one DICOM
    series, turned as imports turn them. ``InputError`` when it is damaged in any slice, is no
    magnitude image, or is more than one volume."""
    if path.name.lower().endswith(NIFTI_ENDINGS):
        return _read_nifti(path)
    return _read_dicom(path)


def _read_nifti(path: Path) -> tuple[np.ndarray, Origin]:
    need("nibabel")
    try:
        image = opened(path)
        reason = not_a_volume(image)
    except Exception as error:
        # nibabel raises errors of many types, its own and others', on what it cannot read.
        reason = f"unreadable data ({type(error).__name__})"
    if not reason and (len(image.shape) < 2 or np.prod(image.shape[3:], dtype=int) != 1):
        reason = f"shape {image.shape}"
    if reason:
        remedy = "give one volume of three axes"
        raise InputError(str(path), "a NIfTI magnitude image", reason, remedy)
    cut = find_cut(image.affine, image.shape, "")
    found = [
        plane if isinstance(plane, Left) else cut.turn.apply(plane) for plane in _planes(path, cut)
    ]
    return _whole(path, found), NiftiOrigin(np.asarray(image.affine, float), cut)


def _planes(path: Path, cut: Cut) -> list[np.ndarray | Left]:
    with tempfile.TemporaryDirectory(prefix="infomri") as scratch:
        return [
            p if isinstance(p, Left) else np.array(p) for p in planes(path, cut, Path(scratch))
        ]


def _read_dicom(path: Path) -> tuple[np.ndarray, Origin]:
    journal = Journal()
    series = scan_series(path, Choice(plane="any"), journal, lambda: None)
    if len(series) != 1:
        reasons = "; ".join(f"{why}: {n}" for why, n in journal.skipped.most_common(3))
        got = f"{len(series)} of them" + (f" ({reasons})" if reasons else "")
        remedy = "give a folder that holds one; `infomri data series` lists what there is"
        raise InputError(str(path), "one DICOM series of magnitude images", got, remedy)
    volume, headers = series[0]
    with tempfile.TemporaryDirectory(prefix="infomri") as scratch:
        found = [_image(result) for result in volume.read(Path(scratch))]
    return _whole(path, found), _dicom_origin(path, volume, headers)


def _image(result: Frame | Left) -> np.ndarray | Left:
    return result if isinstance(result, Left) else result.image


def _whole(path: Path, found: Sequence[np.ndarray | Left]) -> np.ndarray:
    for number, plane in enumerate(found):
        if isinstance(plane, Left):
            where = f"{path} slice {number}"
            raise InputError(where, "a whole slice", plane.reason, "export it again")
    return np.stack([np.asarray(plane, np.float32) for plane in found])


def _dicom_origin(path: Path, volume: Volume, headers: list[Header]) -> DicomOrigin:
    """``InputError`` for frames without a place, or several at one place (echoes, time points)."""
    places = [header.frame_origin for header in headers if header.tile is None]
    known = [place for place in places if place is not None]
    directions = headers[0].directions
    if directions is None or len(known) < len(headers) or len(set(volume.positions)) < len(known):
        got = "several images of one place, a mosaic, or no places"
        remedy = "give one echo and time point of a series that says where its slices lie"
        raise InputError(str(path), "one image at each place", got, remedy)
    return DicomOrigin(tuple(headers), np.array(known), np.reshape(directions, (2, 3)))
