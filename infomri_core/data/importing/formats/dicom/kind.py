"""What a DICOM file is, told from its header: an image of which kind, or something else.

Vendors' private marks follow the attributes that dcm2niix reads (Li et al. 2016, J Neurosci
Methods 264): GE (0043,102F), Philips (2005,1011), Siemens (0051,1016) and (0021,1175).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from infomri_core.data.importing.component import (
    COMPONENT,
    is_magnitude,
    of_name,
    of_types,
    of_unit,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LOOKUP = "grey values by a look-up table (ModalityLUTSequence)"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NOT_IMAGES = {
    "1.2.840.10008.5.1.4.1.1.4.2": "MR spectroscopy, not an image",
    "1.3.12.2.1107.5.9.1": "vendor's raw data or spectroscopy, not an image",
    "1.2.840.10008.5.1.4.1.1.66": "raw data, not an image",
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation, not an image",
    "1.2.840.10008.5.1.4.1.1.66.7": "segmentation, not an image",
    "1.2.840.10008.5.1.4.1.1.30": "parametric map, not a magnitude image",
}
_SEVERAL = "several slices in one picture (montage)"
_TILED = {"MONTAGE", "CONTACT SHEET", "TILED", "FILM"}
_GE_PARTS = (0x0043, 0x2F, ("GEMS_PARM", "GE"))
# (group, element within the block, beginnings of the creator's name)
_TYPES = (
    (0x2005, 0x11, ("PHILIPS",)),
    (0x0051, 0x16, ("SIEMENS",)),
    (0x0021, 0x75, ("SIEMENS",)),
    (0x0029, 0x75, ("GEMS", "GE", "TOSHIBA", "CANON")),
)


def not_an_image(dataset: "Dataset") -> str:
    """Why the object holds no grey-scale image of the patient at all, '' when it does."""
    known = _NOT_IMAGES.get(str(dataset.get("SOPClassUID", "")))
    if known:
        return known
    kinds = _words(dataset)
    if "SPECTROSCOPY" in kinds or "DataPointRows" in dataset or "SpectroscopyData" in dataset:
        return "MR spectroscopy, not an image"
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return "not an image (report, plan or the like)"
    return ""


def unusable(dataset: "Dataset") -> str:
    """Why an image is not a slice with grey values of its own, '' when it is."""
    kinds = _words(dataset)
    capture = str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE)
    if capture or "SCREEN SAVE" in kinds:
        return "screen capture"
    if kinds & _TILED:
        return _SEVERAL
    if dataset.get("ModalityLUTSequence"):
        return LOOKUP
    return ""


def not_magnitude(dataset: "Dataset", levels: list[Any]) -> str:
    """Why a frame is not a magnitude image, '' when it is or nothing says what it is.

    ``levels`` are the frame's functional groups, its own before the shared ones. Nearer marks
    win: a file of mixed frames names each frame's part in its own group.
    """
    component = ""
    frame_types: list[str] = []
    for level in levels:
        for item in (level.get("MRImageFrameTypeSequence") or []) if level is not None else []:
            frame_types = frame_types or many(item.get("FrameType"))[2:]
            component = component or str(item.get("ComplexImageComponent", "") or "")
    component = component or str(dataset.get("ComplexImageComponent", "") or "")
    types = frame_types or many(dataset.get("ImageType"))[2:]
    if component.strip().upper() == "MIXED":
        if reason := of_types(frame_types):
            return reason
        if not is_magnitude(frame_types):
            return COMPONENT
    reason = of_types([component]) or of_types(types)
    reason = reason or _private_part(dataset, levels) or _unit(dataset, levels)
    if reason or is_magnitude([component, *types]):
        return reason
    names = ("SeriesDescription", "ImageComments")
    return next(filter(None, (of_name(str(dataset.get(tag, "") or "")) for tag in names)), "")


def private(
    dataset: "Dataset", group: int, element: int, creators: tuple[str, ...]
) -> Iterator[Any]:
    """Values of a private element, in whichever block its creator reserved; without any creator
    in that group, those of the first block."""
    blocks = [
        block
        for block in range(0x10, 0x100)
        if (group, block) in dataset
        and str(dataset[group, block].value).upper().startswith(creators)
    ]
    if not blocks and not any((group, block) in dataset for block in range(0x10, 0x100)):
        blocks = [0x10]
    for block in blocks:
        if (group, block << 8 | element) in dataset:
            yield dataset[group, block << 8 | element].value


def many(value: Any) -> list[Any]:
    """The values of an element, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str | bytes) else list(value)


def _private_part(dataset: "Dataset", levels: list[Any]) -> str:
    if any(whole(value) != 0 for value in private(dataset, *_GE_PARTS)):
        return COMPONENT
    nested = [level for level in levels if level is not None]
    for level in list(nested):
        # Philips keeps the classic attributes of a frame in a sequence (2005,xx0F) of its group.
        for items in private(level, 0x2005, 0x0F, ("PHILIPS",)):
            nested.extend(item for item in items if hasattr(item, "group_dataset"))
    for place in (*nested, dataset):
        for mark in _TYPES:
            for value in private(place, *mark):
                texts = [_text(part) for part in many(value)]
                if reason := of_types(texts[2:] if len(texts) > 2 else texts):
                    return reason
    return ""


def _unit(dataset: "Dataset", levels: list[Any]) -> str:
    places = [dataset]
    for level in (*(part for part in levels if part is not None), dataset):
        places.extend(level.get("PixelValueTransformationSequence") or [])
        for item in level.get("RealWorldValueMappingSequence") or []:
            for code in item.get("MeasurementUnitsCodeSequence") or []:
                if reason := of_unit(code.get("CodeValue")):
                    return reason
    return next(filter(None, (of_unit(place.get("RescaleType")) for place in places)), "")


def _words(dataset: "Dataset") -> set[str]:
    return {str(part).strip().upper() for part in many(dataset.get("ImageType"))}


def _text(value: Any) -> str:
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else str(value)


def whole(value: Any) -> int:
    """A number however it is stored; of implicit files, as two or four bytes."""
    if isinstance(value, bytes):
        return int.from_bytes(value[:2], "little", signed=True)
    try:
        return int(float(str(value)))
    except ValueError:
        return -1
