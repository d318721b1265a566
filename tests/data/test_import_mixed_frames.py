"""Enhanced MR objects of mixed frames: those of magnitude come in, the others do not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from infomri_core.data.importing.component import COMPONENT, FIELD_MAP
from tests.support.hospital_files import blob, multi_frame
from tests.support.importing import bring

MAGNITUDE, OTHER = blob(16, 16).astype(np.uint16), (blob(16, 16)[::-1] + 1000).astype(np.uint16)
Mark = Callable[[Dataset, bool], None]


def of_frame(kinds: list[str], component: str = "") -> Mark:
    """Marks a frame in its own MR Image Frame Type group."""

    def mark(group: Dataset, other: bool) -> None:
        item = Dataset()
        item.FrameType = kinds if other else ["ORIGINAL", "PRIMARY", "M", "NONE"]
        if component:
            item.ComplexImageComponent = component if other else "MAGNITUDE"
        group.MRImageFrameTypeSequence = Items([item])

    return mark


def of_philips(group: Dataset, other: bool) -> None:
    """Philips' own: the frame's classic attributes in a private sequence, (2005,xx0F)."""
    item = Dataset()
    block = item.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x11, "CS", "P" if other else "M")
    own = group.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
    own.add_new(0x0F, "SQ", Items([item]))


def of_unit(group: Dataset, other: bool) -> None:
    group.PixelValueTransformationSequence[0].RescaleType = "mrad" if other else "US"


def of_velocity(group: Dataset, other: bool) -> None:
    of_frame(["ORIGINAL", "PRIMARY", "VELOCITY MAP", "NONE"])(group, other)


def mixed(path: Path, mark: Mark, whole: dict[str, Any]) -> None:
    """Three places, each a magnitude frame and another, in turns."""
    frames = np.stack([OTHER if k % 2 else MAGNITUDE for k in range(6)])
    multi_frame(path, "P1", frames, [1.0] * 6)
    dataset = pydicom.dcmread(path)
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        place = group.PlanePositionSequence[0]
        place.ImagePositionPatient = [0, 0, -4.0 * (number // 2)]
        mark(group, bool(number % 2))
    for name, value in whole.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


MARKS = {
    "phase by frame type": (of_frame(["ORIGINAL", "PRIMARY", "PHASE MAP", "NONE"]), COMPONENT),
    "phase by a letter": (of_frame(["ORIGINAL", "PRIMARY", "P", "NONE"]), COMPONENT),
    "phase by component": (of_frame(["ORIGINAL", "PRIMARY", "T1", "NONE"], "PHASE"), COMPONENT),
    "real by component": (of_frame(["ORIGINAL", "PRIMARY", "T1", "NONE"], "REAL"), COMPONENT),
    "phase by Philips": (of_philips, COMPONENT),
    "phase by its unit": (of_unit, COMPONENT),
    "velocity": (of_velocity, FIELD_MAP),
}


WHOLE = {"ComplexImageComponent": "MIXED", "ImageType": ["ORIGINAL", "PRIMARY", "MIXED", "M"]}
# Where frames bear Philips' mark or a unit alone, nothing sets the file's MIXED aside.
OWN_TYPES = [name for name in MARKS if name not in ("phase by Philips", "phase by its unit")]


@pytest.mark.parametrize(
    ("name", "whole"), [*((name, {}) for name in MARKS), *((name, WHOLE) for name in OWN_TYPES)]
)
def test_frames_that_are_no_magnitude_are_left_out_one_by_one(
    tmp_path: Path, name: str, whole: dict[str, Any]
) -> None:
    mark, reason = MARKS[name]
    mixed(tmp_path / "in" / "a.dcm", mark, whole)
    out = tmp_path / "s.h5"
    found = bring("dicom", tmp_path / "in", out)
    told = json.loads(out.with_name("s.report.json").read_text())
    assert told["skipped"] == {reason: 3} and len(found["image"]) == 3
    top = np.percentile(np.stack([MAGNITUDE] * 3), 99.9)
    expected = np.clip(MAGNITUDE / top, 0, 1) * 65535
    np.testing.assert_allclose(found["image"], np.stack([expected] * 3), atol=1)


def test_a_mixed_file_whose_frames_say_nothing_is_left_out(tmp_path: Path) -> None:
    mixed(tmp_path / "in" / "a.dcm", lambda group, other: None, {"ComplexImageComponent": "MIXED"})
    multi_frame(tmp_path / "in" / "b.dcm", "P2", np.stack([MAGNITUDE] * 2), [1.0, 1.0])
    out = tmp_path / "s.h5"
    assert len(bring("dicom", tmp_path / "in", out)["image"]) == 2
    assert json.loads(out.with_name("s.report.json").read_text())["skipped"] == {COMPONENT: 6}


def test_spectroscopy_beside_it_is_left_out(tmp_path: Path) -> None:
    mixed(tmp_path / "in" / "a.dcm", MARKS["phase by component"][0], {})
    dataset = pydicom.dcmread(tmp_path / "in" / "a.dcm")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    dataset.SOPInstanceUID = "1.2.3.4"
    del dataset.PixelData
    dataset.DataPointRows, dataset.DataPointColumns = 1, 1024
    dataset.save_as(tmp_path / "in" / "b.dcm")
    out = tmp_path / "s.h5"
    assert len(bring("dicom", tmp_path / "in", out)["image"]) == 3
    skipped = json.loads(out.with_name("s.report.json").read_text())["skipped"]
    assert skipped == {COMPONENT: 3, "MR spectroscopy, not an image": 1}
