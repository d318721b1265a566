"""DICOM segmentations as their tools write them, generated."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence as Items
from pydicom.uid import SegmentationStorage, generate_uid

from tests.support.hospital_files import empty, identify


def segmentation(
    path: Path, images: list[Path], labels: np.ndarray, names: tuple[str, ...], refer: bool = True
) -> Path:
    """One object for a series: ``labels`` (n, H, W) on ``images``, value v the v-th of ``names``;
    slices without a value have no frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = [pydicom.dcmread(image) for image in images]
    first = sources[0]
    dataset = empty(SegmentationStorage)
    identify(dataset, str(first.PatientID), str(first.StudyInstanceUID), generate_uid())
    dataset.Modality, dataset.SegmentationType = "SEG", "BINARY"
    dataset.SegmentSequence = Items([_segment(k, name) for k, name in enumerate(names, 1)])
    dataset.ReferencedSeriesSequence = Items([Dataset()])
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = first.SeriesInstanceUID
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([Dataset()])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = first.ImageOrientationPatient
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    wanted = [(k, i) for k in range(1, len(names) + 1) for i in range(len(images))]
    wanted = [(k, i) for k, i in wanted if (labels[i] == k).any()]
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_frame(k, sources[i], refer) for k, i in wanted]
    )
    frames = np.stack([labels[i] == k for k, i in wanted]).astype(np.uint8)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.PixelData = pack_bits(frames, pad=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _segment(number: int, name: str) -> Dataset:
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = number, name
    segment.SegmentAlgorithmType = "MANUAL"
    return segment


def _frame(number: int, source: Dataset, refer: bool) -> Dataset:
    group = Dataset()
    group.SegmentIdentificationSequence = Items([Dataset()])
    group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
    group.PlanePositionSequence = Items([Dataset()])
    group.PlanePositionSequence[0].ImagePositionPatient = source.ImagePositionPatient
    if refer:
        image = Dataset()
        image.ReferencedSOPClassUID = source.SOPClassUID
        image.ReferencedSOPInstanceUID = source.SOPInstanceUID
        derived = Dataset()
        derived.SourceImageSequence = Items([image])
        group.DerivationImageSequence = Items([derived])
    return group
