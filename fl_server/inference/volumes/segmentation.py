"""A label map as a DICOM segmentation of the series it was computed from (PS3.3 A.51).

It refers to its source images by their UIDs: without them nothing would say which slices it is
of. Whoever has the hospital's archive finds the patient by them, even where no identity is kept.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from fl_server.inference.volumes.dicom import MAKER, begun, decimal, encoded, source_of
from infomri_core.data.importing.formats.extra import need
from infomri_core.inference.origin import DicomOrigin
from infomri_core.system.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
# CID 7151 and 7150 have "Tissue" for what no finer code is known of.
_TISSUE = ("85756007", "SCT", "Tissue")
_SEGMENTATION_CODE = ("113076", "DCM", "Segmentation")
_SOURCE_CODE = ("121322", "DCM", "Source image for image processing operation")


def segmentation_object(
    labels: np.ndarray, names: tuple[str, ...], origin: DicomOrigin, keep: bool
) -> bytes:
    """Label maps (n, H, W), value v the v-th of ``names``, as one binary segmentation: a frame for
    each segment on each slice where it has a pixel. ``InputError`` where no slice has any."""
    undone = origin.undone(labels)
    frames = [
        (value, number)
        for value in range(1, len(names) + 1)
        for number in range(len(undone))
        if (undone[number] == value).any()
    ]
    if not frames:
        raise InputError("label map", "an outline on a slice", "none", "nothing to store")
    source = source_of(origin)
    made = begun(_SEGMENTATION, source, keep)
    made.StudyInstanceUID = source.StudyInstanceUID
    made.Modality, made.ImageType = "SEG", ["DERIVED", "PRIMARY"]
    made.SeriesDescription, made.ContentLabel = "Outlines computed by InfoMRI", "OUTLINES"
    made.ContentDescription, made.ContentCreatorName = "Not for clinical use", ""
    uid = need("pydicom").uid.generate_uid
    made.FrameOfReferenceUID = source.get("FrameOfReferenceUID") or uid()
    made.PositionReferenceIndicator = ""
    made.SegmentationType, made.LossyImageCompression = "BINARY", "00"
    made.BurnedInAnnotation = "NO"
    made.SegmentSequence = [_segment(number, name) for number, name in enumerate(names, 1)]
    _dimensions(made, uid())
    made.SharedFunctionalGroupsSequence = [_shared(origin)]
    made.PerFrameFunctionalGroupsSequence = [_frame(v, n, origin, source) for v, n in frames]
    made.ReferencedSeriesSequence = [_series(origin, source)]
    stored = np.stack([undone[number] == value for value, number in frames])
    made.NumberOfFrames, made.Rows, made.Columns = stored.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = made.PixelRepresentation = 0
    bits = np.packbits(stored.ravel(), bitorder="little").tobytes()
    made.PixelData = bits + b"\0" * (len(bits) % 2)
    return encoded(made)


def _segment(number: int, name: str) -> "Dataset":
    return _item(
        SegmentNumber=number,
        SegmentLabel=name[:64],
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName=MAKER,
        SegmentedPropertyCategoryCodeSequence=[_code(_TISSUE)],
        SegmentedPropertyTypeCodeSequence=[_code(_TISSUE)],
    )


def _dimensions(made: Any, organization: str) -> None:
    made.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    pointers = ((0x0062000B, 0x0062000A), (0x00200032, 0x00209113))
    made.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=group,
        )
        for pointer, group in pointers
    ]


def _shared(origin: DicomOrigin) -> "Dataset":
    spacing = [decimal(value) for value in origin.headers[0].spacing]
    _, affine = origin.placed(np.zeros((len(origin.headers), 1, 1)))
    thickness = decimal(float(np.linalg.norm(affine[:3, 2])))
    measures = _item(
        PixelSpacing=spacing, SliceThickness=thickness, SpacingBetweenSlices=thickness
    )
    directions = [decimal(value) for value in origin.directions.ravel()]
    return _item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=directions)],
    )


def _frame(value: int, number: int, origin: DicomOrigin, source: "Dataset") -> "Dataset":
    place = [decimal(v) for v in origin.origins[number]]
    image = _reference(origin, number, source)
    image.PurposeOfReferenceCodeSequence = [_code(_SOURCE_CODE)]
    derived = _item(
        SourceImageSequence=[image], DerivationCodeSequence=[_code(_SEGMENTATION_CODE)]
    )
    return _item(
        FrameContentSequence=[_item(DimensionIndexValues=[value, number + 1])],
        PlanePositionSequence=[_item(ImagePositionPatient=place)],
        SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=value)],
        DerivationImageSequence=[derived],
    )


def _series(origin: DicomOrigin, source: "Dataset") -> "Dataset":
    """The series' instances, each once."""
    images = [_reference(origin, number, source) for number in range(len(origin.headers))]
    once = {str(image.ReferencedSOPInstanceUID): image for image in images}
    for image in once.values():
        if "ReferencedFrameNumber" in image:
            del image.ReferencedFrameNumber
    return _item(
        SeriesInstanceUID=origin.headers[0].series, ReferencedInstanceSequence=[*once.values()]
    )


def _reference(origin: DicomOrigin, number: int, source: "Dataset") -> "Dataset":
    uid, _, frame = origin.headers[number].instance[0].partition(":")
    found = _item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=uid)
    if frame:
        found.ReferencedFrameNumber = int(frame)
    return found


def _code(code: tuple[str, str, str]) -> "Dataset":
    value, scheme, meaning = code
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _item(**values: Any) -> "Dataset":
    made = need("pydicom").Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made
