"""NIfTI files as volumes, turned to the same pictures as DICOM series."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from infomri_core.data.importing.bounds import nifti_refusal
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.component import negative_share
from infomri_core.data.importing.formats.extra import need
from infomri_core.data.importing.formats.nifti_file import (
    DAMAGED,
    ENDINGS,
    Cut,
    find_cut,
    opened,
    planes,
)
from infomri_core.data.importing.formats.nifti_kind import not_a_volume, not_magnitude
from infomri_core.data.importing.formats.nifti_masks import NiftiMasks, stem
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

_OTHER = (".img", ".hdr", ".img.gz", ".hdr.gz", ".mgh", ".mgz", ".nrrd", ".nhdr", ".mha", ".mhd")
_OTHER_FORMAT = "volume in pairs of files, MGH, NRRD or MetaImage: convert it to .nii"
_log = logging.getLogger("infomri.import")


def scan_nifti(
    folder: Path,
    choice: Choice,
    rule: PatientRule,
    journal: Journal,
    tick: Callable[[], None],
    masks: NiftiMasks | None = None,
) -> list[Volume]:
    """The volumes below ``folder``, from headers alone; of a 4-D file the first volume. With
    ``masks`` each with its outlines; ``InputError`` for masks on other grids than their images'.

    Slices are taken across ``choice.plane``, by default across the axis of the longest voxels.
    Patients are named by the files' paths (``rule``), since NIfTI names none.
    """
    need("nibabel")
    volumes = []
    for path in walk(folder):
        tick()
        name = path.relative_to(folder).as_posix()
        if masks is not None and masks.holds(path):
            continue
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
                image = opened(path)
            found = not_a_volume(image) or _volume(image, path, name, rule(name), choice.plane)
        except Exception as error:
            # nibabel raises errors of many types, its own and others', on what it cannot read.
            _log.info("a NIfTI file was not read: %s", type(error).__name__)
            found = DAMAGED
        if isinstance(found, str):
            journal.skip(path, found)
            continue
        if masks is not None:
            cut = find_cut(image.affine, image.shape, choice.plane)
            found = replace(found, outlines=masks.of(path, found.patient, image, cut))
        if len(image.shape) > 3 and math.prod(image.shape[3:]) > 1:
            journal.warn("of 4-D files only the first volume is taken", str(path))
            further = len(found) * (math.prod(image.shape[3:]) - 1)
            journal.skip(path, "further volumes of a 4-D file (echoes, time points)", further)
        if not _states_orientation(image):
            journal.warn("NIfTI files that state no orientation (qform and sform 0)", str(path))
        volumes.append(found)
    if masks is not None:
        masks.check()
        if masks.unused():
            journal.warn(f"masks that belong to no image that was taken: {masks.unused()}")
    return volumes


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
    cut = find_cut(image.affine, shape, plane)
    columns, rows, _ = cut.axes
    if min(shape[columns], shape[rows]) < 2:
        return "not a volume (a line or a point of voxels: surface or parcel data)"
    turn, depth = cut.turn, cut.depth
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    pair = (float(spacing[rows]) or 1.0, float(spacing[columns]) or 1.0)
    return Volume(
        patient=patient,
        study=(),
        series=(name, name.split("/")[-1], stem(path)),
        slices=tuple((str(i + 1),) for i in cut.numbers),
        positions=tuple(i / max(depth - 1, 1) for i in range(depth)),
        shape=turn.pair((shape[rows], shape[columns])),
        spacing=turn.pair(pair),
        plane=turn.plane,
        name=stem(path),
        place=name,
        fingerprint=fingerprint(path) + turn.plane,
        read=partial(_read, path, cut),
    )


def _read(path: Path, cut: Cut, scratch: Path) -> Iterator[Frame | Left]:
    for plane in planes(path, cut, scratch):
        if isinstance(plane, Left):
            yield plane
            continue
        values = (np.abs(plane) if np.iscomplexobj(plane) else plane).astype(np.float32)
        if not np.isfinite(values).all():
            yield Left("NaN or infinite values")
            continue
        image = np.maximum(values, 0)
        turned = np.ascontiguousarray(cut.turn.apply(image))
        yield Frame(turned, suspect_text(image), negative_share(values))
