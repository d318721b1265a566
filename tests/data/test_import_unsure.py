"""What cannot be told for sure is left out or refused, with a reason that says so."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from infomri_core.data.importing.tables.label_table import read_labels
from infomri_core.system.errors import InputError
from tests.support import hospital_files as hospital
from tests.support.hospital_files import blob
from tests.support.importing import bring


def left_out(out: Path) -> dict[str, int]:
    return dict(json.loads(out.with_name(f"{out.stem}.report.json").read_text())["skipped"])


def nifti(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.stack([blob(16, 16, i) for i in range(3)], axis=-1).astype(np.float32)
    nibabel.Nifti1Image(data, np.diag([1.0, 1.0, 4.0, 1.0])).to_filename(path)


@pytest.mark.parametrize(
    "content", [b'{"ImageType": ["P"', b'["ORIGINAL", "P"]', b"\xff\xff\xff", b"[" * 100_000]
)
def test_a_volume_whose_sidecar_cannot_be_read_is_left_out(tmp_path: Path, content: bytes) -> None:
    nifti(tmp_path / "n" / "sub-1" / "a.nii")
    nifti(tmp_path / "n" / "sub-2" / "a.nii")
    (tmp_path / "n" / "sub-2" / "a.json").write_bytes(content)
    taken = bring("nifti", tmp_path / "n", tmp_path / "a.h5")
    assert len(taken["image"]) == 3
    assert any("sidecar that cannot be read" in why for why in left_out(tmp_path / "a.h5"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_sidecar_in_any_unicode_says_that_a_volume_is_phase(
    tmp_path: Path, encoding: str
) -> None:
    for name in ("sub-1", "sub-2"):
        nifti(tmp_path / "n" / name / "a.nii")
    text = json.dumps({"ImageType": ["ORIGINAL", "PRIMARY", "P"]})
    (tmp_path / "n" / "sub-2" / "a.json").write_text(text, encoding=encoding)
    taken = bring("nifti", tmp_path / "n", tmp_path / "a.h5")
    assert len(taken["image"]) == 3
    assert left_out(tmp_path / "a.h5")["phase, real or imaginary image"] == 1


@pytest.mark.parametrize("name", ["a.img", "a.hdr", "A.IMG.GZ", "a.mgz", "a.nrrd", "a.mha"])
def test_volumes_of_other_formats_are_left_out_with_what_to_do(tmp_path: Path, name: str) -> None:
    nifti(tmp_path / "n" / "sub-1" / "a.nii")
    (tmp_path / "n" / "sub-1" / name).write_bytes(b"x")
    bring("nifti", tmp_path / "n", tmp_path / "a.h5")
    assert any("convert it to .nii" in why for why in left_out(tmp_path / "a.h5"))


def test_frames_without_functional_groups_where_others_have_them_are_left_out(
    tmp_path: Path,
) -> None:
    frames = np.stack([blob(16, 16, i) for i in range(4)]).astype(np.uint16)
    path = tmp_path / "d" / "e.dcm"
    path.parent.mkdir()
    hospital.multi_frame(path, "A1", frames, slopes=[1.0] * 4)
    dataset = pydicom.dcmread(path)
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:3]
    dataset.save_as(path, enforce_file_format=True)
    taken = bring("dicom", tmp_path / "d", tmp_path / "a.h5")
    assert len(taken["image"]) == 3
    (reason,) = left_out(tmp_path / "a.h5")
    assert "functional groups" in reason


def test_pixels_of_an_unknown_syntax_are_not_called_damaged(tmp_path: Path) -> None:
    hospital.Series("A1", n=2, shape=(16, 16)).write(tmp_path / "d")
    (path,) = hospital.Series("B2", n=1, shape=(16, 16)).write(tmp_path / "d" / "b")
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.PixelData = pydicom.encaps.encapsulate([_jpeg_header(16, 16)])
    dataset.save_as(path, enforce_file_format=True)
    bring("dicom", tmp_path / "d", tmp_path / "a.h5")
    assert left_out(tmp_path / "a.h5") == {
        "compressed in a way that no installed decoder knows": 1
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("patient,tear,Tear\nA1,1,0\n", "a name twice"),
        ("patient,tear,PATIENT\nA1,1,A1\n", "a name twice"),
        ('patient,tear\n"A1,1\nB2,0\n', "quoted wrongly"),
        ('patient,tear\n"A1"x,1\nB2,0\n', "quoted wrongly"),
        ("patient,tear\nA1,1\nB2,\u22121\n", "another number"),
    ],
)
def test_tables_that_can_be_read_in_two_ways_are_refused(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=why):
        read_labels(path)


def _jpeg_header(height: int, width: int) -> bytes:
    """The beginning of a JPEG file of that size: enough to pass for one."""
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return b"\xff\xd8\xff\xc0\x00\x0b\x08" + size + b"\x01\x01\x11\x00" + b"\xff\xd9\x00"
