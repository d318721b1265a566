"""DICOM in: which series, which way up, which grey values, and what is left out and why."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw

from infomri_core.data import open_dataset
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.scan import scan_dicom
from infomri_core.data.importing.formats.orientation import find_turn
from infomri_core.system.errors import InputError
from tests.support import hospital_files as hospital
from tests.support.hospital_files import AXIAL, CORONAL, SAGITTAL, Series, blob, shipped
from tests.support.importing import bring, call, images_of

MR = Choice(plane="any")


def read(folder: Path, choice: Choice = MR) -> list[Any]:
    return images_of(scan_dicom, folder, choice, scratch=folder)


def skipped(out: Path) -> dict[str, int]:
    counts: dict[str, int] = json.loads(out.with_name(f"{out.stem}.report.json").read_text())[
        "skipped"
    ]
    return counts


def test_a_series_opens_as_a_study_with_its_slices_in_their_places(tmp_path: Path) -> None:
    for patient in ("A1", "B2", "C3"):
        Series(patient).write(tmp_path / "in" / patient)
    labels = hospital.write_labels(tmp_path / "l.csv", "patient,tear", "A1,1", "B2,0", "C3,1")
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5", "--labels", labels)
    assert stored["image"].shape == (12, 32, 32)
    np.testing.assert_allclose(stored["relative_position"], [0, 1 / 3, 2 / 3, 1] * 3, atol=1e-6)
    volume = np.stack([blob(32, 32, place).astype(np.uint16) for place in range(4)])
    expected = np.clip(volume / np.percentile(volume, 99.9), 0, 1)
    data = open_dataset(f"slices:{tmp_path / 's.h5'}")
    np.testing.assert_allclose(data.images(range(4)).numpy(), expected, atol=2e-4)
    assert data.table.label_names == ("tear",)
    assert sorted(data.table.labels[::4, 0].tolist()) == [0, 1, 1]


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
)
def test_every_lossless_transfer_syntax_gives_the_same_grey_values(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(shipped(name).read_bytes())
    (image,) = read(tmp_path)
    plain = pydicom.dcmread(shipped("MR_small.dcm")).pixel_array
    np.testing.assert_array_equal(np.sort(image.ravel()), np.sort(np.maximum(plain, 0).ravel()))


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("JPEG2000.dcm", (1024, 256)),
        ("693_J2KI.dcm", (512, 512)),
        ("JPEGLSNearLossless_16.dcm", (50, 10)),
        ("JPGExtended.dcm", "12-bit lossy JPEG (pylibjpeg-libjpeg, under the GPL, decodes it)"),
    ],
)
def test_lossy_transfer_syntaxes_are_decoded_or_named(
    tmp_path: Path, name: str, result: Any
) -> None:
    dataset = pydicom.dcmread(shipped(name))
    dataset.PatientID, dataset.SeriesInstanceUID, dataset.Modality = "A1", "1.2.3", "MR"
    dataset.SOPClassUID = pydicom.uid.MRImageStorage
    dataset.save_as(tmp_path / name)
    (image,) = read(tmp_path)
    assert (image if isinstance(result, str) else image.shape) == result


def test_frames_of_an_enhanced_object_have_their_own_place_and_slope(tmp_path: Path) -> None:
    frames = np.stack([blob(16, 20, place) for place in range(3)]).astype(np.uint16)
    hospital.multi_frame(tmp_path / "e.dcm", "A1", frames, slopes=[2.0, 1.0, 0.5])
    images = read(tmp_path)
    for image, number in zip(images, (2, 1, 0)):
        np.testing.assert_allclose(image, frames[number] * [2.0, 1.0, 0.5][number])


def test_slope_intercept_inversion_and_padding_make_the_grey_value(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 0.5, "RescaleIntercept": -10, "PixelPaddingValue": 0}
    Series("A1", n=1, tags=tags).write(tmp_path / "a")
    plain = blob(32, 32).astype(np.uint16)
    expected = np.maximum(plain * 0.5 - 10, 0)
    expected[plain == 0] = 0
    np.testing.assert_allclose(read(tmp_path / "a")[0], expected)
    Series("A1", n=1, tags={"PhotometricInterpretation": "MONOCHROME1"}).write(tmp_path / "b")
    np.testing.assert_allclose(read(tmp_path / "b")[0], 65535 - plain.astype(float))


@pytest.mark.parametrize(
    "upright", [AXIAL, CORONAL, SAGITTAL], ids=["axial", "coronal", "sagittal"]
)
@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("columns", [1, -1])
@pytest.mark.parametrize("transposed", [False, True])
def test_however_a_scanner_lays_a_slice_it_is_turned_to_the_same_picture(
    upright: tuple[int, ...], rows: int, columns: int, transposed: bool
) -> None:
    picture = blob(12, 9)
    stored = picture[::rows, ::columns]
    along = [columns * np.array(upright[:3], float), rows * np.array(upright[3:], float)]
    if transposed:
        stored, along = stored.T, along[::-1]
    turn = find_turn(*along)
    np.testing.assert_array_equal(turn.apply(stored), picture)
    assert sum(abs(v) for v in turn.slice_direction) == pytest.approx(1)


def test_slices_run_from_the_feet_to_the_head_however_they_are_numbered(tmp_path: Path) -> None:
    # Columns reversed turn the slice's normal to the feet: place must not follow it.
    Series("A1", orientation=(-1, 0, 0, 0, 1, 0)).write(tmp_path)
    images = read(tmp_path)
    assert [image.max() for image in images] == sorted((i.max() for i in images), reverse=True)


def test_oblique_slices_belong_to_the_nearest_plane_and_are_not_interpolated() -> None:
    tilt = np.deg2rad(20)
    turn = find_turn(np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)]))
    assert (turn.plane, turn.transpose, turn.flip_rows, turn.flip_columns) == (
        "axial",
        False,
        False,
        False,
    )


def test_series_are_chosen_by_name_and_what_is_left_has_its_reason(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    Series("A1", "t2_tse_tra").write(folder / "a")
    Series("B1", "T2 FLAIR tra").write(folder / "b")
    Series("A1", "t1_mprage").write(folder / "c")
    Series("A1", "localizer_3pl").write(folder / "d")
    Series("A1", "t2_phase", tags={"ImageType": ["ORIGINAL", "PRIMARY", "P"]}).write(folder / "e")
    Series("A1", "t2_ct", tags={"Modality": "CT"}).write(folder / "f")
    Series("A1", "t2 map", n=1, tags={"BurnedInAnnotation": "YES"}).write(folder / "g")
    Series("", "t2", n=2).write(folder / "h")
    stored = bring("dicom", folder, out, "--series", "t2", "--exclude", "*flair*")
    assert len(stored["image"]) == 4
    assert skipped(out) == {
        "series not asked for (--series)": 8,
        "series excluded (--exclude)": 4,
        "phase, real or imaginary image": 4,
        "modality is not MR": 4,
        "header says text is burnt in": 1,
        "no patient id": 2,
    }
    listed = call("series", folder).stdout.splitlines()
    assert "t2_tse_tra: axial, 32 x 32, series 1, slices 4" in listed
    assert "localizer_3pl: axial, 32 x 32, series 1, slices 4" in listed
    assert "not taken, modality is not MR: 4" in listed
    bring("dicom", folder, tmp_path / "all.h5")
    assert skipped(tmp_path / "all.h5")["localizer"] == 4


def test_damaged_foreign_and_double_files_are_passed_over_by_name(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    paths = Series("A1").write(folder, compressed=True)
    (folder / "copy.dcm").write_bytes(paths[1].read_bytes())
    cut = paths[2].read_bytes()
    (folder / "zcut.dcm").write_bytes(cut[: len(cut) - 900])
    Series("A1", n=1).write(folder / "more")
    broken = next((folder / "more").iterdir())
    broken.write_bytes(broken.read_bytes()[:-700])
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "head.dcm").write_bytes(cut[:200])
    (folder / "report.dcm").write_bytes(shipped("reportsi.dcm").read_bytes())
    stored = bring("dicom", folder, out)
    assert len(stored["image"]) == 4
    assert "planes (slices): axial 4\n" in out.with_name("s.report.txt").read_text()
    counts = skipped(out)
    assert counts["duplicate of an instance already taken"] == 2
    assert counts["pixel data truncated or damaged"] == 1
    assert counts["not a DICOM file"] == 1
    assert sum(counts.values()) == 6, counts
    with out.with_name("s.private.csv").open() as stream:
        noted = {Path(row[1]).name for row in csv.reader(stream) if row[0] == "noted"}
    assert {"copy.dcm", "zcut.dcm", "notes.txt", "head.dcm", "report.dcm"} <= noted


def test_of_two_copies_the_truncated_one_is_dropped(tmp_path: Path) -> None:
    (path,) = Series("A1", n=1).write(tmp_path)
    (tmp_path / "0000.dcm").write_bytes(path.read_bytes()[:-700])
    (image,) = read(tmp_path)
    assert image.shape == (32, 32)


def test_one_id_that_two_people_carry_is_left_out(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    Series("A1").write(folder / "a")
    Series("A1", tags={"PatientBirthDate": "20010101"}).write(folder / "b")
    Series("B2", tags={"PatientName": "Other^One"}).write(folder / "c")
    Series("C3", tags={"PatientName": "ZABRISKIE PHILOMENA"}).write(folder / "d")
    Series("D4").write(folder / "e")
    stored = bring("dicom", folder, out)
    assert len(set(stored["patient"])) == 3
    assert skipped(out)["one patient id, two people (birth date, sex or issuer)"] == 8
    warnings = json.loads(out.with_name("s.report.json").read_text())["warnings"]
    assert any(
        w.startswith("people (same name and birth date) with several patient ids: 1;")
        for w in warnings
    )


def test_planes_and_shapes_are_not_mixed_unless_asked(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    Series("A1").write(folder / "a")
    Series("A1", orientation=SAGITTAL).write(folder / "b")
    Series("B2", shape=(24, 40)).write(folder / "c")
    with pytest.raises(InputError, match=r"one plane, got axial 8, sagittal 4 \(slices\)"):
        bring("dicom", folder, tmp_path / "s.h5")
    with pytest.raises(InputError, match=r"32 x 32 \(4 slices\).* --size 40"):
        bring("dicom", folder, tmp_path / "s.h5", "--plane", "axial")
    stored = bring("dicom", folder, tmp_path / "s.h5", "--plane", "axial", "--size", 24)
    assert stored["image"].shape == (8, 24, 24)
    wide = stored["image"][stored["patient"] == _patient_of_shape(stored)]
    # 24 x 40 keeps its aspect: 14 rows of anatomy, zeros above and below.
    assert (wide[:, :5] == 0).all() and (wide[:, 5:19].max(axis=(1, 2)) > 0).all()
    assert not list(tmp_path.glob("*.importing"))


def _patient_of_shape(stored: dict[str, np.ndarray]) -> str:
    empty_above = (stored["image"][:, :5] == 0).all(axis=(1, 2))
    (name,) = set(stored["patient"][empty_above])
    return str(name)


def test_text_drawn_into_a_slice_is_warned_of(tmp_path: Path) -> None:
    series = Series("A1", n=3, shape=(96, 96))
    paths = series.write(tmp_path / "in")
    dataset = pydicom.dcmread(paths[1])
    picture = Image.fromarray((dataset.pixel_array // 8).astype(np.uint8))
    ImageDraw.Draw(picture).text((4, 80), "DOE JANE", fill=255)
    dataset.PixelData = (np.asarray(picture).astype("<u2") * 8).tobytes()
    dataset.save_as(paths[1])
    out = tmp_path / "s.h5"
    bring("dicom", tmp_path / "in", out)
    report = json.loads(out.with_name("s.report.json").read_text())
    assert report["suspected_text"] == [1]
    assert "text may be drawn into rows 1;" in out.with_name("s.report.txt").read_text()
