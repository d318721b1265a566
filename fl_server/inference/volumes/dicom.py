"""What every DICOM object written here shares: who it says it is of, and where it comes from.

By default an object names no patient: the Patient module is empty and says so
(PatientIdentityRemoved), there is no date of the study and no accession number. ``keep`` copies
the Patient and General Study modules of the source, so that an archive files the object beside it.
"""

from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from infomri_core import __version__
from infomri_core.data.importing.formats.dicom.files import quiet, read_header
from infomri_core.data.importing.formats.extra import need
from infomri_core.inference.origin import DicomOrigin

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

MAKER = "InfoMRI Federated"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
_TOP = 65535


def source_of(origin: DicomOrigin) -> "Dataset":
    """The header of the series' first file."""
    with quiet():
        return read_header(origin.headers[0].path)


def begun(sop_class: str, source: "Dataset", keep: bool) -> "FileDataset":
    """A new object with UIDs of its own, its patient and its study."""
    pydicom = need("pydicom")
    uid = pydicom.uid
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    made = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    if keep and "SpecificCharacterSet" in source:
        made.SpecificCharacterSet = source.SpecificCharacterSet
    for name in (*_PATIENT, *_STUDY):
        setattr(made, name, source.get(name, "") if keep else "")
    if not keep:
        made.PatientIdentityRemoved = "YES"
        made.DeidentificationMethod = f"{MAKER}: nothing of the patient is copied"
    made.StudyInstanceUID = source.StudyInstanceUID if keep else uid.generate_uid()
    now = datetime.now()
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.SeriesInstanceUID, made.SeriesNumber, made.InstanceNumber = uid.generate_uid(), 9001, 1
    made.Manufacturer, made.ManufacturerModelName = MAKER, "infomri"
    made.DeviceSerialNumber, made.SoftwareVersions = "none", __version__
    return made


def encoded(made: "FileDataset") -> bytes:
    """The object as a file's content (PS3.10)."""
    stream = BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def secondary_captures(
    series: Mapping[str, np.ndarray], origin: DicomOrigin, keep: bool
) -> dict[str, list[bytes]]:
    """Slices (n, H, W), not negative, as derived secondary captures (PS3.3 A.8.1): for each
    description a series, a file a slice, of one study. 16 bits with a slope, common to a series,
    that gives the values back, and the places of the slices they were computed from."""
    source, made = source_of(origin), dict[str, list[bytes]]()
    study = begun(_SECONDARY_CAPTURE, source, keep).StudyInstanceUID
    for place, (description, slices) in enumerate(series.items()):
        undone = np.maximum(origin.undone(slices), 0)
        top = max(float(undone.max()), 1e-6)
        first = begun(_SECONDARY_CAPTURE, source, keep)
        made[description] = []
        for number, image in enumerate(undone):
            one = begun(_SECONDARY_CAPTURE, source, keep)
            one.StudyInstanceUID, one.SeriesInstanceUID = study, first.SeriesInstanceUID
            one.SeriesNumber, one.InstanceNumber = 9001 + place, number + 1
            _describe(one, description)
            _place(one, origin, number)
            _store(one, image, top)
            made[description].append(encoded(one))
    return made


def _describe(made: Any, description: str) -> None:
    made.Modality, made.ConversionType = "MR", "WSD"
    made.SeriesDescription, made.PatientOrientation = description, ""
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = "Computed from part of k-space; not for clinical use"
    made.BurnedInAnnotation = "NO"


def _store(made: Any, image: np.ndarray, top: float) -> None:
    # A slope is a decimal string of at most 16 characters.
    slope = f"{top / _TOP:.9e}"
    stored = np.minimum(np.round(image / float(slope)), _TOP).astype("<u2")
    made.Rows, made.Columns = stored.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = slope, "0", "US"
    made.WindowCenter, made.WindowWidth = decimal(top / 2), decimal(top)
    made.PixelData = stored.tobytes()


def _place(made: Any, origin: DicomOrigin, number: int) -> None:
    made.PixelSpacing = list(map(decimal, origin.headers[number].spacing))
    made.ImageOrientationPatient = list(map(decimal, origin.directions.ravel()))
    made.ImagePositionPatient = list(map(decimal, origin.origins[number]))


def decimal(value: float) -> str:
    """A number as a decimal string of DICOM, at most 16 characters."""
    return f"{float(value):.9g}"
