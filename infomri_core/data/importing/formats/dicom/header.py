"""What is read of a DICOM file's header, frame by frame, and which frames are taken.

Classic objects hold one frame; enhanced ones (PS3.3 C.7.6.16) keep its geometry and grey scale in
functional groups, shared or per frame.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.kind import (
    many,
    not_an_image,
    not_magnitude,
    private,
    unusable,
)
from infomri_core.data.importing.formats.dicom.mosaic import is_mosaic, read_mosaic
from infomri_core.data.importing.formats.orientation import UNKNOWN, Turn, find_turn
from infomri_core.data.importing.identity import composed
from infomri_core.data.importing.patients import Person, person

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NO_GROUPS = "frame without functional groups of its own, where others have them"


@dataclass(frozen=True)
class Header:
    """One frame of a file: where it is, how it is turned, how its numbers become grey values.

    ``person`` is name, birth date, sex and issuer of the id, to find two people under one id;
    ``place`` is mm along the slice direction, NaN if unknown; ``inverted`` is the stored value
    from which stored values are subtracted (MONOCHROME1), else None. ``signed``: values
    below zero are usual (not MR). ``scale``: Philips' own scale slope, if any.
    ``frame_origin`` and ``directions`` are ImagePositionPatient and ImageOrientationPatient.
    ``tile`` is the upper left corner of a slice within a mosaic, ``shape`` then that of the slice.
    """

    path: Path
    frame: int
    patient: str
    person: Person
    study: tuple[str, ...]
    series: str
    description: str
    instance: tuple[str, ...]
    shape: tuple[int, int]
    spacing: tuple[float, float]
    turn: Turn
    place: float
    order: tuple[float, ...]
    slope: float
    intercept: float
    inverted: float | None
    padding: tuple[float, float] | None
    signed: bool = False
    tile: tuple[int, int] | None = None
    scale: float | None = None
    frame_origin: tuple[float, ...] | None = None
    directions: tuple[float, ...] | None = None

    @property
    def group(self) -> tuple[Any, ...]:
        """Frames that agree in this make one volume."""
        direction = tuple(np.round(self.turn.slice_direction, 1).tolist())
        shape = self.turn.pair(self.shape)
        return (self.patient, self.series, self.turn.plane, direction, shape)


def refusal(dataset: "Dataset", choice: Choice) -> str:
    """Why a file is not taken, told from its header ('' when it is)."""
    if reason := not_an_image(dataset):
        return reason
    modality = str(dataset.get("Modality", "") or "none")
    if modality.upper() != choice.modality.upper():
        return f"modality is not {choice.modality}"
    if int(dataset.get("SamplesPerPixel", 1) or 1) != 1:
        return "colour image"
    if str(dataset.get("PhotometricInterpretation", "")).strip() == "PALETTE COLOR":
        return "colour image"
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        return "header says text is burnt in"
    if reason := unusable(dataset):
        return reason
    kinds = {str(part).upper() for part in many(dataset.get("ImageType"))}
    if "LOCALIZER" in kinds and not choice.series:
        return "localizer"
    if "PROJECTION IMAGE" in kinds:
        return "projection"
    if not str(dataset.get("PatientID", "") or "").strip():
        return "no patient id"
    if not str(dataset.get("SeriesInstanceUID", "") or "").strip():
        return "no series UID"
    names = tuple(
        str(dataset.get(tag, "") or "")
        for tag in ("SeriesDescription", "ProtocolName", "SequenceName")
    )
    return choice.refusal(names)


def frames(dataset: "Dataset", path: Path) -> list[Header | str]:
    """Each frame's header, or why the frame is not taken."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    n_frames = max(int(dataset.get("NumberOfFrames", 1) or 1), 1)
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    found: list[Header | str] = []
    for number in range(n_frames):
        levels = [per_frame[number] if number < len(per_frame) else None, shared]
        if per_frame and number >= len(per_frame):
            found.append(NO_GROUPS)
            continue
        if reason := not_magnitude(dataset, levels):
            found.append(reason)
        else:
            found.append(_header(dataset, path, number, levels))
    if is_mosaic(dataset):
        return [part for frame in found for part in _tiles(dataset, frame)]
    return found


def _tiles(dataset: "Dataset", frame: Header | str) -> list[Header | str]:
    """The slices of a mosaic, each with its own place; the tiles step along the slices' normal."""
    if isinstance(frame, str):
        return [frame]
    mosaic = read_mosaic(dataset)
    if isinstance(mosaic, str):
        return [mosaic]
    uid, instance = (_text(dataset, t) for t in ("SOPInstanceUID", "InstanceNumber"))
    along = np.asarray(frame.turn.slice_direction)
    places = frame.place + np.arange(mosaic.n) * float(mosaic.step @ along)
    if mosaic.origins is not None:
        places = mosaic.origins @ along
    return [
        replace(
            frame,
            instance=(f"{uid}:{number + 1}", f"{instance}:{number + 1}"),
            shape=mosaic.tile,
            tile=mosaic.corner(number),
            place=float(places[number]),
            order=(*frame.order[:2], float(number)),
        )
        for number in range(mosaic.n)
    ]


def _header(dataset: "Dataset", path: Path, number: int, levels: list[Any]) -> Header:
    def one(group: str, tag: str) -> Any:
        """From the frame's group, the shared group, or the file itself, whichever has it."""
        for level in levels:
            items = level.get(group) if level is not None else None
            if items and items[0].get(tag) is not None:
                return items[0].get(tag)
        return dataset.get(tag)

    directions = _floats(one("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    turn = find_turn(directions[:3], directions[3:]) if directions is not None else UNKNOWN
    origin = _floats(one("PlanePositionSequence", "ImagePositionPatient"), 3)
    place = float("nan")
    if origin is not None and turn is not UNKNOWN:
        place = float(origin @ np.asarray(turn.slice_direction))
    spacing = _floats(one("PixelMeasuresSequence", "PixelSpacing"), 2)
    if spacing is None or spacing.min() <= 0:
        spacing = np.ones(2)
    slope = one("PixelValueTransformationSequence", "RescaleSlope")
    intercept = one("PixelValueTransformationSequence", "RescaleIntercept")
    uid, instance = (str(dataset.get(t, "") or "") for t in ("SOPInstanceUID", "InstanceNumber"))
    several = int(dataset.get("NumberOfFrames", 1) or 1) > 1
    names = (f"{uid}:{number + 1}", str(number + 1)) if several else (uid, instance)
    return Header(
        path,
        number,
        composed(str(dataset.PatientID)),
        person(
            _text(dataset, "PatientName"),
            _text(dataset, "PatientBirthDate"),
            _text(dataset, "PatientSex"),
            _text(dataset, "IssuerOfPatientID"),
        ),
        tuple(_text(dataset, t) for t in ("StudyInstanceUID", "AccessionNumber", "StudyID")),
        _text(dataset, "SeriesInstanceUID"),
        _text(dataset, "SeriesDescription") or _text(dataset, "ProtocolName"),
        tuple(name for name in names if name),
        (int(dataset.Rows), int(dataset.Columns)),
        (float(spacing[0]), float(spacing[1])),
        turn,
        place,
        (_number(dataset.get("AcquisitionNumber")), _number(instance), float(number)),
        float(slope) if slope else 1.0,
        float(intercept or 0.0),
        _inverted(dataset),
        _padding(dataset),
        str(dataset.get("Modality", "")).upper() != "MR",
        scale=_scale_slope(dataset),
        frame_origin=None if origin is None else tuple(origin.tolist()),
        directions=None if directions is None else tuple(directions.tolist()),
    )


def _scale_slope(dataset: "Dataset") -> float | None:
    """Philips' (2005,xx0E): stored values over it are comparable where it differs by slice."""
    for value in private(dataset, 0x2005, 0x0E, ("PHILIPS",)):
        if isinstance(value, float) and np.isfinite(value) and value > 0:
            return value
    return None


def _inverted(dataset: "Dataset") -> float | None:
    if str(dataset.get("PhotometricInterpretation", "")).strip() != "MONOCHROME1":
        return None
    signed = int(dataset.get("PixelRepresentation", 0) or 0)
    return -1.0 if signed else float(2 ** int(dataset.get("BitsStored", 16)) - 1)


def _padding(dataset: "Dataset") -> tuple[float, float] | None:
    low = dataset.get("PixelPaddingValue")
    if not isinstance(low, int):
        return None
    high = dataset.get("PixelPaddingRangeLimit")
    high = high if isinstance(high, int) else low
    return (float(min(low, high)), float(max(low, high)))


def _text(dataset: "Dataset", tag: str) -> str:
    return str(dataset.get(tag, "") or "").strip()


def _floats(value: Any, n: int) -> np.ndarray | None:
    try:
        array = np.array([float(v) for v in value], dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.shape == (n,) and np.isfinite(array).all() else None


def _number(value: Any) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0
