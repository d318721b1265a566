"""NIfTI files as volumes, turned to the same pictures as DICOM series."""

import logging
import math
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infomri_core.data.importing.bounds import nifti_refusal, unpack_nifti
from infomri_core.data.importing.choice import PLANES, Choice
from infomri_core.data.importing.component import negative_share
from infomri_core.data.importing.formats.extra import need
from infomri_core.data.importing.formats.nifti_kind import not_a_volume, not_magnitude
from infomri_core.data.importing.formats.orientation import Turn, find_turn
from infomri_core.data.importing.formats.pixels import suspect_text
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import (
    PACKED,
    Frame,
    Journal,
    Left,
    Volume,
    fingerprint,
    packed,
    walk,
)

ENDINGS = (".nii", ".nii.gz")
_OTHER = (".img", ".hdr", ".img.gz", ".hdr.gz", ".mgh", ".mgz", ".nrrd", ".nhdr", ".mha", ".mhd")
_OTHER_FORMAT = "volume in pairs of files, MGH, NRRD or MetaImage: convert it to .nii"
_DAMAGED = "damaged or truncated NIfTI file"
_log = logging.getLogger("infomri.import")


def scan_nifti(
    folder: Path, choice: Choice, rule: PatientRule, journal: Journal, tick: Callable[[], None]
) -> list[Volume]:
    """The volumes below ``folder``, from headers alone; of a 4-D file the first volume.

    Slices are taken across ``choice.plane``, by default across the axis of the longest voxels.
    Patients are named by the files' paths (``rule``), since NIfTI names none.
    """
    nibabel = need("nibabel")
    volumes = []
    for path in walk(folder):
        tick()
        name = path.relative_to(folder).as_posix()
        if not name.lower().endswith(ENDINGS):
            other = _OTHER_FORMAT if name.lower().endswith(_OTHER) else "not a NIfTI file"
            journal.skip(path, PACKED if packed(path) else other)
            continue
        if reason := choice.refusal((name,)) or not_magnitude(path):
            journal.skip(path, reason)
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = _opened(nibabel, path)
            found = not_a_volume(image) or _volume(image, path, name, rule(name), choice.plane)
        except Exception as error:
            # nibabel raises errors of many types, its own and others', on what it cannot read.
            _log.info("a NIfTI file was not read: %s", type(error).__name__)
            found = _DAMAGED
        if isinstance(found, str):
            journal.skip(path, found)
            continue
        if len(image.shape) > 3 and math.prod(image.shape[3:]) > 1:
            journal.warn("of 4-D files only the first volume is taken", str(path))
            further = len(found) * (math.prod(image.shape[3:]) - 1)
            journal.skip(path, "further volumes of a 4-D file (echoes, time points)", further)
        if not _states_orientation(image):
            journal.warn("NIfTI files that state no orientation (qform and sform 0)", str(path))
        volumes.append(found)
    return volumes


def _opened(nibabel: Any, path: Path) -> Any:
    """The file with its header read; nibabel itself reads no ending that mixes capitals."""
    if path.name.endswith((*ENDINGS, *map(str.upper, ENDINGS), ".nii.GZ", ".NII.gz")):
        return nibabel.load(path)
    holder = {"image": nibabel.FileHolder(filename=str(path))}
    try:
        return nibabel.Nifti1Image.from_file_map(holder)
    except nibabel.spatialimages.HeaderDataError:
        return nibabel.Nifti2Image.from_file_map(holder)


def _states_orientation(image: Any) -> bool:
    """Whether the header says how the voxels lie; else nibabel's affine is a convention."""
    return any(int(image.header.get(code, 1)) for code in ("qform_code", "sform_code"))


def _volume(image: Any, path: Path, name: str, patient: str, plane: str) -> Volume | str:
    shape = image.shape
    if len(shape) < 2 or 0 in shape:
        return "not a volume"
    if image.get_data_dtype().fields is not None:
        return "colour image"
    if reason := nifti_refusal(image):
        return reason
    if not patient:
        return "no patient in the path (--patient)"
    axes, turn, backwards = _layout(image.affine, plane)
    if min(shape[axes[0]], shape[axes[1]]) < 2:
        return "not a volume (a line or a point of voxels: surface or parcel data)"
    depth = shape[axes[2]] if len(shape) > axes[2] else 1
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    rows, columns = axes[1], axes[0]
    pair = (float(spacing[rows]) or 1.0, float(spacing[columns]) or 1.0)
    stem = re.sub(r"(?i)\.nii(\.gz)?$", "", name.split("/")[-1])
    return Volume(
        patient=patient,
        study=(),
        series=(name, name.split("/")[-1], stem),
        slices=tuple((str(i + 1),) for i in _numbers(depth, backwards)),
        positions=tuple(i / max(depth - 1, 1) for i in range(depth)),
        shape=turn.pair((shape[rows], shape[columns])),
        spacing=turn.pair(pair),
        plane=turn.plane,
        name=stem,
        place=name,
        fingerprint=fingerprint(path) + turn.plane,
        read=partial(_read, path, axes, turn, backwards, depth),
    )


def _layout(affine: np.ndarray, plane: str) -> tuple[tuple[int, int, int], Turn, bool]:
    """Array axes (columns, rows, slices), the turn, and whether slices run backwards.

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
    return (columns, rows, through), turn, backwards


def _read(
    path: Path, axes: tuple[int, int, int], turn: Turn, backwards: bool, depth: int, scratch: Path
) -> Iterator[Frame | Left]:
    """Slice by slice; a compressed file is unpacked to ``scratch`` first, since a slice across
    another axis than the last would unpack all of it."""
    nibabel = need("nibabel")
    try:
        data = nibabel.load(_unpacked(_opened(nibabel, path), path, scratch)).dataobj
    except (OSError, EOFError, zlib.error, ValueError):
        yield from [Left(_DAMAGED)] * depth
        return
    for number in _numbers(depth, backwards):
        index: list[Any] = [slice(None)] * 3 + [0] * (len(data.shape) - 3)
        index[axes[2]] = number
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                plane = np.asarray(data[tuple(index[: len(data.shape)])])
        except (OSError, EOFError, ValueError, zlib.error):
            yield Left(_DAMAGED)
            continue
        plane = np.abs(plane) if np.iscomplexobj(plane) else plane
        # The two axes left stand in the order of the array, columns before rows: (W, H).
        values = plane.reshape(plane.shape[0], -1).T.astype(np.float32)
        if not np.isfinite(values).all():
            yield Left("NaN or infinite values")
            continue
        image = np.maximum(values, 0)
        turned = np.ascontiguousarray(turn.apply(image))
        yield Frame(turned, suspect_text(image), negative_share(values))


def _numbers(depth: int, backwards: bool) -> range:
    """The file's own numbers of its slices, in the order in which they are stored here."""
    return range(depth - 1, -1, -1) if backwards else range(depth)


def _unpacked(image: Any, path: Path, scratch: Path) -> Path:
    if path.suffix.lower() != ".gz" and path.suffix == ".nii":
        return path
    plain = scratch / "volume.nii"
    if path.suffix.lower() != ".gz":
        plain.symlink_to(path.absolute())
        return plain
    unpack_nifti(path, plain, image)
    return plain
