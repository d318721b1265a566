"""What looks like a slice and is none is left out with its reason, in every format."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from infomri_core.data.fastmri.annotations import read_annotations
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.component import COMPONENT, FIELD_MAP, SIGNED, of_name
from infomri_core.data.importing.formats.ismrmrd.scan import scan_ismrmrd
from infomri_core.data.importing.formats.picture_kind import SEVERAL
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.tables.label_table import read_labels
from infomri_core.data.importing.volume import PACKED, Journal
from infomri_core.machine.proxies import keep_loopback_direct
from infomri_core.system.errors import InputError
from tests.support.hospital_files import Series, blob, pixels
from tests.support.importing import bring


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.with_name(f"{out.stem}.report.json").read_text())
    return found


def brought(tmp_path: Path, kind: str, *options: object) -> tuple[int, dict[str, Any]]:
    """Slices taken from tmp_path/in, and the report."""
    stored = bring(kind, tmp_path / "in", tmp_path / "s.h5", *options)
    return len(stored["image"]), report(tmp_path / "s.h5")


def change(path: Path, edit: Any) -> None:
    dataset = pydicom.dcmread(path)
    edit(dataset)
    dataset.save_as(path, enforce_file_format=True)


def mark(group: int, creator: str, element: int, vr: str, value: Any) -> Any:
    def edit(dataset: Dataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        dataset.private_block(group, creator, create=True).add_new(element, vr, value)

    return edit


def types(*values: str) -> Any:
    return lambda dataset: setattr(dataset, "ImageType", ["ORIGINAL", "PRIMARY", *values])


def lookup(dataset: Dataset) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [2, 0, 16], [0, 1], "US"
    table.add_new(0x00283002, "US", [2, 0, 16])
    table.add_new(0x00283006, "US", [0, 1])
    dataset.ModalityLUTSequence = Items([table])


def negative(dataset: Dataset) -> None:
    types("OTHER")(dataset)
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1000


def spectrum(dataset: Dataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (mark(0x43, "GEMS_PARM_01", 0x2F, "SS", 1), COMPONENT),
        (mark(0x43, "GEMS_PARM_01", 0x2F, "SS", 3), COMPONENT),
        (mark(0x2005, "Philips MR Imaging DD 001", 0x11, "CS", "P"), COMPONENT),
        (mark(0x51, "SIEMENS MR HEADER", 0x16, "LO", "p2 P/ND"), COMPONENT),
        (types("R_FFE"), COMPONENT),
        (types("VELOCITY MAP", "P", "PCA"), FIELD_MAP),
        (types("B0 MAP", "B0"), FIELD_MAP),
        (negative, SIGNED),
        (lookup, "grey values by a look-up table (ModalityLUTSequence)"),
        (spectrum, "MR spectroscopy, not an image"),
        (types("M", "MONTAGE"), "several slices in one picture (montage)"),
        (
            types("M", "MOSAIC"),
            "several slices in one picture (mosaic whose header does not say how)",
        ),
    ],
)
def test_a_dicom_file_that_is_no_magnitude_slice_has_its_reason(
    tmp_path: Path, edit: Any, reason: str
) -> None:
    Series("A1", n=2).write(tmp_path / "in" / "a")
    (path,) = Series("B2", n=1).write(tmp_path / "in" / "b")
    change(path, edit)
    n, found = brought(tmp_path, "dicom")
    assert (n, found["skipped"]) == (2, {reason: 1})


def test_a_mosaic_becomes_its_slices_in_their_places(tmp_path: Path) -> None:
    (path,) = Series("A1", n=1).write(tmp_path / "in")
    tiles = [blob(16, 16, place) for place in range(3)]
    picture = np.block([[tiles[0], tiles[1]], [tiles[2], np.zeros((16, 16))]])

    def edit(dataset: Dataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        dataset.AcquisitionMatrix, dataset.SpacingBetweenSlices = [16, 0, 0, 16], 4
        pixels(dataset, picture.astype(np.uint16)[None])
        block = dataset.private_block(0x19, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", 3)

    change(path, edit)
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5")
    expected = np.stack(tiles).astype(np.uint16)
    expected = np.clip(expected / np.percentile(expected, 99.9), 0, 1)
    np.testing.assert_allclose(stored["image"] / 65535, expected, atol=2e-4)
    np.testing.assert_allclose(stored["relative_position"], [0, 0.5, 1])


@pytest.mark.parametrize("same_patient", [True, False])
def test_one_uid_on_different_images_loses_none_of_them(
    tmp_path: Path, same_patient: bool
) -> None:
    series = [Series("A1", n=1), Series("A1" if same_patient else "B2", n=1)]
    for number, one in enumerate(series):
        (path,) = one.write(tmp_path / "in" / str(number))
        change(path, lambda d: setattr(d, "SOPInstanceUID", "1.2.3.4"))
    n, found = brought(tmp_path, "dicom")
    assert n == 2
    assert any("UIDs that stand on several different images: 1" in w for w in found["warnings"])


def test_gzipped_files_and_files_without_a_preamble_are_read(tmp_path: Path) -> None:
    plain, bare = Series("A1", n=2).write(tmp_path / "in")
    plain.with_name("a.dcm.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    dataset = pydicom.dcmread(bare)
    del dataset.file_meta
    dataset.preamble = None
    dataset.save_as(bare, implicit_vr=True, little_endian=True)
    assert bare.read_bytes()[128:132] != b"DICM"
    assert brought(tmp_path, "dicom")[0] == 2


def volume(path: Path, sign: float = 0.0, intent: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.stack([blob(16, 16, z) for z in range(3)], axis=2) - sign
    image = nibabel.Nifti1Image(data.astype(np.float32), np.diag([1, 1, 4, 1]))
    image.header["intent_code"] = intent
    nibabel.save(image, path)
    return path


def test_nifti_files_that_are_no_magnitude_images_have_their_reasons(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    volume(folder / "a.nii.gz").rename(folder / "A.NII.GZ")
    volume(folder / "b_ph.nii")
    volume(folder / "c.nii")
    (folder / "c.json").write_text(
        json.dumps({"ImageType": ["ORIGINAL", "PRIMARY", "P", "PHASE"]})
    )
    volume(folder / "d.nii", sign=300.0)
    volume(folder / "e_phasediff.nii.gz")
    volume(folder / "f.nii", intent=1002)
    axes = (
        nibabel.cifti2.ScalarAxis(["x"]),
        nibabel.cifti2.BrainModelAxis.from_mask(np.ones((2, 2, 2)), affine=np.eye(4)),
    )
    nibabel.save(nibabel.Cifti2Image(np.zeros((1, 8)), header=axes), folder / "g.dscalar.nii")
    n, found = brought(tmp_path, "nifti")
    counts = found["skipped"]
    assert (n, counts[COMPONENT], counts[SIGNED], counts[FIELD_MAP]) == (3, 2, 3, 1)
    assert sum(counts.values()) == 9, counts


def test_a_line_or_a_point_of_voxels_is_no_volume_and_stops_nothing(tmp_path: Path) -> None:
    volume(tmp_path / "in" / "a.nii")
    series = np.zeros((1, 1, 1, 1, 5, 90), np.float32)
    nibabel.save(nibabel.Nifti2Image(series, np.eye(4)), tmp_path / "in" / "b.dtseries.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones((1, 90, 1)), np.eye(4)), tmp_path / "in" / "c.nii")
    n, found = brought(tmp_path, "nifti")
    assert (n, sum(found["skipped"].values())) == (3, 2)
    assert all("line or a point of voxels" in reason for reason in found["skipped"])


def test_a_file_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    source = volume(tmp_path / "in" / "a.nii")
    source.rename(os.fsdecode(os.fsencode(tmp_path / "in") + b"/M\xfcller.nii"))
    assert brought(tmp_path, "nifti")[0] == 3


def test_whatever_a_reader_raises_the_other_files_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume(tmp_path / "in" / "a.nii")
    volume(tmp_path / "in" / "b.nii")
    real = nibabel.load

    def load(path: Any) -> Any:
        if Path(path).name == "b.nii":
            raise ZeroDivisionError
        return real(path)

    monkeypatch.setattr(nibabel, "load", load)
    n, found = brought(tmp_path, "nifti")
    assert (n, sum(found["skipped"].values())) == (3, 1)


def test_pages_of_a_tiff_are_slices_and_animations_are_left_out_in_words(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    page = Image.fromarray((blob(16, 16) / 6).astype(np.uint8))
    other = Image.fromarray((blob(16, 16, 3.0) / 6).astype(np.uint8))
    page.save(tmp_path / "in" / "a.png")
    page.save(tmp_path / "in" / "b.tif", save_all=True, append_images=[other])
    page.save(tmp_path / "in" / "c.png", save_all=True, append_images=[other])
    page.save(tmp_path / "in" / "d_phase.png")
    n, found = brought(tmp_path, "images")
    assert (n, found["skipped"]) == (3, {SEVERAL: 1, COMPONENT: 1})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("t2_arterial_phase", ""),
        ("ep2d phase_encoding AP", ""),
        ("gre_part-imag", COMPONENT),
        ("sub-1_task-rest_part-phase_bold", COMPONENT),  # not the arterial phase
        ("part-phase_bold", COMPONENT),
        ("art-phase", ""),
    ],
)
def test_a_phase_of_time_is_not_the_phase_of_the_signal(name: str, reason: str) -> None:
    assert of_name(name) == reason


def test_tables_have_one_spelling_a_class_and_no_cell_in_an_error(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("patient,tear,,\nA1,yes,,\nB2,Yes,,\nC3,yes,,\nD4,no,,\n")
    assert read_labels(path).names == ("no", "yes")
    path.write_text("MRN0012345,yes\nMRN0067890,no\n")
    with pytest.raises(InputError) as raised:
        read_labels(path)
    assert "MRN" not in str(raised.value)
    path.write_text("patient,tear,\nMRN0012345,1,MRN0067890\n")
    with pytest.raises(InputError, match="column 3: expected a name") as raised:
        read_labels(path)
    assert "MRN" not in str(raised.value)


@pytest.mark.parametrize("word", ["Yes", "True", "1", "Y", "TRUE", "yes"])
def test_every_usual_spelling_of_study_level_is_one(tmp_path: Path, word: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"file,slice,study_level,label\nv,0,{word},artifact\n")
    assert read_annotations(path)[0].study_level


def test_an_unknown_word_in_study_level_is_refused_and_not_echoed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("file,slice,study_level,label\nv,0,Zabriskie,artifact\n")
    with pytest.raises(InputError, match="line 2 study_level") as raised:
        read_annotations(path)
    assert "Zabriskie" not in str(raised.value)


def test_loopback_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "intranet")
    monkeypatch.delenv("NO_PROXY", raising=False)
    keep_loopback_direct()
    for name in ("no_proxy", "NO_PROXY"):
        assert os.environ[name].split(",") == ["intranet", "localhost", "127.0.0.1", "::1"]


def test_a_packed_file_of_any_format_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray((blob(16, 16, 0) / 8).astype(np.uint8)).save(tmp_path / "in" / "a.png")
    for name in ("b.h5.gz", "b.png.gz", "b.tar.gz", "b.zip"):
        (tmp_path / "in" / name).write_bytes(gzip.compress(b"x"))
    assert brought(tmp_path, "images")[1]["skipped"] == {PACKED: 4}
    journal = Journal()
    assert not scan_ismrmrd(tmp_path / "in", Choice(), PatientRule(), journal, lambda: None)
    assert journal.skipped[PACKED] == 4
