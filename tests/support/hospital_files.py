"""Files as a hospital holds them, generated: DICOM series, and what in them tells who it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)
NAME, BIRTH, STUDY_DATE = "Zabriskie^Philomena", "19470311", "20240229"


def blob(height: int, width: int, place: float = 0.0) -> np.ndarray:
    """A smooth picture without symmetry, 0 to about 1000: brighter to the upper left."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    spot = np.exp(-((y - 0.3 * height) ** 2 + (x - 0.25 * width) ** 2) / (0.02 * height * width))
    return 1000.0 * (0.7 * spot + 0.3 * (1 - y / height) * (1 - x / width)) * (1 + 0.1 * place)


@dataclass
class Series:
    """A classic series of one patient: ``tags`` are set on every instance."""

    patient: str
    description: str = "t2_tse_tra"
    n: int = 4
    shape: tuple[int, int] = (32, 32)
    orientation: Sequence[float] = AXIAL
    tags: dict[str, Any] = field(default_factory=dict)
    series_uid: str = field(default_factory=generate_uid)
    study_uid: str = field(default_factory=generate_uid)

    def write(self, folder: Path, *, compressed: bool = False) -> list[Path]:
        """One file a slice, in an order that is not that of their places."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        for number in range(self.n):
            dataset = self.instance(number, tuple((5.0 * number * normal).tolist()))
            if compressed:
                dataset.compress(RLELossless)
            paths.append(folder / f"{self.n - number:04d}_{self.series_uid[-6:]}.dcm")
            dataset.save_as(paths[-1], enforce_file_format=True)
        return paths

    def instance(self, number: int, origin: tuple[float, ...]) -> FileDataset:
        dataset = empty(MRImageStorage)
        identify(dataset, self.patient, self.study_uid, self.series_uid)
        dataset.SeriesDescription = dataset.ProtocolName = self.description
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.InstanceNumber = number + 1
        dataset.ImageOrientationPatient = list(self.orientation)
        dataset.ImagePositionPatient = list(origin)
        dataset.PixelSpacing = [1.0, 1.0]
        pixels(dataset, blob(*self.shape, place=number).astype(np.uint16)[None])
        for tag, value in self.tags.items():
            setattr(dataset, tag, value)
        return dataset


def empty(sop_class: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "MR"
    return dataset


def identify(dataset: Dataset, patient: str, study: str, series: str) -> None:
    """Everything that tells who it is, and when."""
    dataset.PatientID, dataset.PatientName = patient, NAME
    dataset.PatientBirthDate, dataset.PatientSex = BIRTH, "F"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = STUDY_DATE
    dataset.StudyTime = "101112"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.AccessionNumber = f"ACC{patient}"
    dataset.ReferringPhysicianName = "Quintessa^Vorontsov"
    dataset.InstitutionName = "Grimsby General"


def pixels(dataset: Dataset, frames: np.ndarray) -> None:
    """uint16 frames (n, H, W) as pixel data."""
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    dataset.PixelData = frames.astype("<u2").tobytes()


def multi_frame(path: Path, patient: str, frames: np.ndarray, slopes: Sequence[float]) -> None:
    """An enhanced MR object: place and slope per frame, orientation shared, last slice first."""
    dataset = empty(EnhancedMRImageStorage)
    identify(dataset, patient, generate_uid(), generate_uid())
    dataset.SeriesDescription = "enhanced"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    plane, measures = Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = list(AXIAL), [1.0, 1.0]
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = (
        Items([plane]),
        Items([measures]),
    )
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    groups = []
    for number, slope in enumerate(slopes):
        place, grey, group = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, -4.0 * number]
        grey.RescaleSlope, grey.RescaleIntercept, grey.RescaleType = slope, 0, "US"
        group.PlanePositionSequence = Items([place])
        group.PixelValueTransformationSequence = Items([grey])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Items(groups)
    pixels(dataset, frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def shipped(name: str) -> Path:
    """A test file within pydicom's wheel."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def write_labels(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path
