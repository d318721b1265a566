"""Readers of outlines: a good image beside a damaged mask, or an archive of both."""

import itertools
import tempfile
from pathlib import Path
from unittest import mock

import h5py
import nibabel
import numpy as np

from benchmarks.fuzz import corpus
from benchmarks.fuzz import mutations as by
from benchmarks.fuzz.reader import Reader, Wrong, always
from infomri_core.data import open_dataset
from infomri_core.data.base import ABSENT
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.scan import scan_dicom
from infomri_core.data.importing.formats.nifti import scan_nifti
from infomri_core.data.importing.formats.nifti_masks import NiftiMasks
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.staging import Workshop
from infomri_core.data.importing.volume import Journal, Volume
from tests.support import hospital_files, segmentation_files
from tests.support.hospital_files import Series
from tests.support.segmentation_files import segmentation

_SIDE = 16
_INSIDE = np.zeros((3, _SIDE, _SIDE), np.uint8)
_INSIDE[1:, 4:9, 5:12] = 1


def nifti_mask(path: Path) -> None:
    """A label map, and the image that it belongs to beside it."""
    for each, values in ((path.with_name("b.nii"), _INSIDE * 90 + 5), (path, _INSIDE)):
        nibabel.save(nibabel.Nifti1Image(values.T, np.diag([1, 1, 3, 1])), each)


def dicom_segmentation(path: Path) -> None:
    """A DICOM segmentation, and its series beside it; the same bytes at every run."""
    numbers = itertools.count(1)

    def uid() -> str:
        return f"1.2.826.0.1.3680043.8.498.{next(numbers)}"

    with (
        mock.patch.object(hospital_files, "generate_uid", uid),
        mock.patch.object(segmentation_files, "generate_uid", uid),
    ):
        series = Series("p1", n=3, shape=(_SIDE, _SIDE), series_uid=uid(), study_uid=uid())
        images = series.write(path.parent.with_name("images"))
        segmentation(path, images, _INSIDE, ("Tumour",))


def case(path: Path) -> None:
    """One rater's outline of a QUBIQ case, beside it the image, another rater's, another case."""
    for folder in (path.parent, path.parent.with_name("case02")):
        folder.mkdir(exist_ok=True)
        for name, values in (
            ("image.nii.gz", _INSIDE[1] * 90 + 5),
            (path.name, _INSIDE[1]),
            ("task01_seg02.nii.gz", _INSIDE[1]),
        ):
            nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), folder / name)


def archive(path: Path) -> None:
    """A slice archive with two raters' outlines, one of whom did not look at a slice."""
    corpus.slices(False)(path)
    with h5py.File(path, "a") as file:
        n, height, width = file["image"].shape
        file["masks"] = np.arange(n * 2 * height * width).reshape(n, 2, height, width) % 3
        file["masks"].attrs["names"] = ["edge", "core"]
        file["rater_present"] = np.array([[1, 1], [1, 0], [0, 1], [1, 1]], np.uint8)


def _read_nifti_mask(path: Path) -> str:
    journal, masks = Journal(), NiftiMasks(path.parent, ("*_mask",))
    scanned = scan_nifti(
        path.parent, Choice(plane="any"), PatientRule(), journal, lambda: None, masks
    )
    return _outlined(scanned, path.parent.parent)


def _read_segmentation(path: Path) -> str:
    images, journal = path.parent.with_name("images"), Journal()
    scanned = scan_dicom(
        images, Choice(plane="any"), journal, lambda: None, (str(path.parent),), ("tumour",)
    )
    return _outlined(scanned, images.parent)


def _outlined(volumes: list[Volume], folder: Path) -> str:
    """What an import makes of them: as many outlines as slices."""
    n = 0
    with tempfile.TemporaryDirectory(dir=folder) as made:
        workshop = Workshop(Path(made) / "archive.h5")
        for number, volume in enumerate(volumes):
            part = workshop.make(f"part{number}", volume, None)
            if volume.outlines is None:
                continue
            outlines = [np.asarray(outline) for outline in part.outlines()]
            if len(outlines) != len(part.kept):
                raise Wrong("another number of outlines than of slices")
            if any(o.dtype != np.uint8 for o in outlines):
                raise Wrong("outlines of another type")
            n += len(outlines)
        workshop.close(finished=True)
    return f"{'read' if n else 'nothing outlined'}"


def _ratings(uri: str, path: Path) -> str:
    dataset = open_dataset(uri.format(path=path, root=path.parent.parent))
    found = dataset.ratings(np.arange(len(dataset))).numpy()
    if not np.isin(found, (0, 1, ABSENT)).all():
        raise Wrong("an outline of other values")
    return "read"


OUTLINES: dict[str, Reader] = {
    "nifti-masks": Reader("b_mask.nii", (nifti_mask,), always(by.head(352)), _read_nifti_mask),
    "segmentations": Reader(
        "seg.dcm", (dicom_segmentation,), always(by.dicom), _read_segmentation
    ),
    "qubiq": Reader(
        "task01_seg01.nii.gz",
        (case,),
        always(by.packed(by.head(352))),
        lambda path: _ratings("qubiq:{root}?size=16", path),
    ),
    "masks": Reader("a.h5", (archive,), by.hdf5, lambda path: _ratings("slices:{path}", path)),
}
