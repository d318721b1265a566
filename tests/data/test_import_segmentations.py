"""DICOM segmentations in: on the slices they refer to, turned alike, chosen by their labels."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from infomri_core.system.errors import InputError
from tests.support.hospital_files import AXIAL, CORONAL, SAGITTAL, Series, empty, identify
from tests.support.importing import bring
from tests.support.segmentation_files import segmentation

SHAPE = (21, 15)


def series(
    folder: Path, patient: str = "A1", orientation: tuple[float, ...] = AXIAL
) -> list[Path]:
    """A series of five odd slices; its files in the order of their places."""
    return Series(patient, n=5, shape=SHAPE, orientation=orientation).write(folder)


def drawn(paths: list[Path], level: float = 0.5) -> np.ndarray:
    """What lies above a share of the brightest grey value, (n, H, W); nothing on the first."""
    pixels = np.stack([pydicom.dcmread(path).pixel_array for path in paths]).astype(float)
    inside = pixels > level * pixels.max()
    inside[0] = False
    return inside.astype(np.uint8)


@pytest.mark.parametrize(
    "orientation", [AXIAL, CORONAL, SAGITTAL, (-1, 0, 0, 0, 1, 0), (0, -1, 0, 1, 0, 0)]
)
def test_a_segment_that_is_a_threshold_of_its_series_stays_one(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    paths = series(tmp_path / "in", orientation=orientation)
    segmentation(tmp_path / "in" / "seg.dcm", paths, drawn(paths), ("Tumour",))
    found = bring("dicom", tmp_path / "in", tmp_path / "s.h5", "--masks", tmp_path / "in")
    grey = found["image"].astype(float)
    empty_one = found["mask"].reshape(5, -1).any(1).tolist()
    assert empty_one.count(False) == 1
    for mask, image, there in zip(found["mask"], grey, empty_one):
        top = pydicom.dcmread(paths[-1]).pixel_array.max()
        scale = np.percentile([pydicom.dcmread(p).pixel_array for p in paths], 99.9) / 65535
        if there:
            np.testing.assert_array_equal(mask > 0, image * scale > 0.5 * top)
    told = json.loads((tmp_path / "s.report.json").read_text())
    assert told["outlines"] == {"raters": 1, "slices": {"mask": 4}, "empty": 1, "missing": 0}
    assert told["skipped"] == {}


def test_labels_choose_and_order_and_series_without_one_have_no_target(tmp_path: Path) -> None:
    paths = series(tmp_path / "in")
    series(tmp_path / "in" / "other", "B2")
    labels = drawn(paths, 0.3) + drawn(paths, 0.6)
    segmentation(tmp_path / "seg" / "a.dcm", paths, labels, ("Edge", "Core"))
    options = ("--masks", tmp_path / "seg", "--outline", "core", "--outline", "edge")
    found = bring("dicom", tmp_path / "in", tmp_path / "s.h5", *options)
    assert found["rater_present"].sum() == 5
    n_core, n_edge = ((found["mask"] == value).sum() for value in (1, 2))
    assert (n_core, n_edge) == ((labels == 2).sum(), (labels == 1).sum())
    one = bring(
        "dicom", tmp_path / "in", tmp_path / "o.h5", "--masks", tmp_path / "seg", *options[-2:]
    )
    assert (one["mask"] > 0).sum() == n_edge
    warnings = json.loads((tmp_path / "o.report.json").read_text())["warnings"]
    assert "segments of other labels than --outline names: 1" in warnings
    with pytest.raises(InputError, match="core, edge"):
        bring("dicom", tmp_path / "in", tmp_path / "n.h5", "--masks", tmp_path / "seg")
    with pytest.raises(InputError, match="labels are: core, edge"):
        wrong = ("--masks", tmp_path / "seg", "--outline", "cyst")
        bring("dicom", tmp_path / "in", tmp_path / "n.h5", *wrong)


def test_each_folder_is_a_rater_and_two_of_one_folder_may_not_overlap(tmp_path: Path) -> None:
    paths = series(tmp_path / "in")
    for rater, level in (("r1", 0.3), ("r2", 0.6)):
        segmentation(tmp_path / rater / "seg.dcm", paths, drawn(paths, level), ("X",))
    both = ("--masks", tmp_path / "r1", "--masks", tmp_path / "r2")
    found = bring("dicom", tmp_path / "in", tmp_path / "s.h5", *both)
    assert found["masks"].shape == (5, 2, *SHAPE)
    assert found["masks"][:, 0].sum() > found["masks"][:, 1].sum() > 0
    segmentation(tmp_path / "r1" / "again.dcm", paths, drawn(paths, 0.6), ("X",))
    with pytest.raises(InputError, match="do not overlap"):
        bring("dicom", tmp_path / "in", tmp_path / "t.h5", "--masks", tmp_path / "r1")


def refused(tmp_path: Path, seg: pydicom.Dataset) -> str:
    seg.save_as(tmp_path / "seg" / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputError) as caught:
        bring("dicom", tmp_path / "in", tmp_path / "s.h5", "--masks", tmp_path / "seg")
    assert not (tmp_path / "s.h5").exists()
    return str(caught.value)


def test_what_is_no_binary_segmentation_of_the_series_is_refused(tmp_path: Path) -> None:
    paths = series(tmp_path / "in")
    path = segmentation(tmp_path / "seg" / "a.dcm", paths, drawn(paths), ("X",))
    read = lambda: pydicom.dcmread(path)  # noqa: E731
    whole = path.read_bytes()
    seg = read()
    seg.SegmentationType = "FRACTIONAL"
    assert "BINARY" in refused(tmp_path, seg)
    path.write_bytes(whole)
    seg = read()
    groups = seg.PerFrameFunctionalGroupsSequence
    groups[0].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 2.5]
    assert "mm away" in refused(tmp_path, seg)
    path.write_bytes(whole)
    seg = read()
    shared = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    shared.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    assert "another orientation" in refused(tmp_path, seg)
    path.write_bytes(whole)
    seg = read()
    seg.PatientID = "someone"
    assert "none of them" in refused(tmp_path, seg)
    segmentation(path, paths, drawn(paths), ("X",), refer=False)
    assert "name their segment and the slice" in refused(tmp_path, read())
    segmentation(path, paths, drawn(paths)[:, :-1], ("X",))
    assert f"{SHAPE} pixels" in refused(tmp_path, read())
    contours = empty("1.2.840.10008.5.1.4.1.1.481.3")
    identify(contours, "A1", "1.2", "1.3")
    assert "RTSTRUCT" in refused(tmp_path, contours)


@pytest.mark.parametrize("damage", ["frames", "rows"])
def test_a_damaged_header_is_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    paths = series(tmp_path / "in")
    path = segmentation(tmp_path / "seg" / "a.dcm", paths, drawn(paths), ("Tumour",))
    if damage == "rows":
        dataset = pydicom.dcmread(path)
        del dataset.Rows
        dataset.save_as(path)
    else:
        head = b"\x28\x00\x08\x00IS\x02\x00"
        content = path.read_bytes()
        assert content.count(head) == 1
        at = content.index(head) + len(head)
        path.write_bytes(content[:at] + b"#5" + content[at + 2 :])
    with pytest.raises(InputError, match="an unreadable header"):
        bring("dicom", tmp_path / "in", tmp_path / "s.h5", "--masks", tmp_path / "seg")
