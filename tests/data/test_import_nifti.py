"""NIfTI and pictures in: the same picture as DICOM gives, whose it is, and what is left out."""

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.nifti import scan_nifti
from infomri_core.data.importing.formats.pictures import scan_pictures
from infomri_core.data.importing.patients import PatientRule
from infomri_core.system.errors import InputError
from tests.support.hospital_files import blob, write_labels
from tests.support.importing import bring, images_of

# A body, right to left (x), front to back (y), feet to head (z): LPS, as DICOM.
BODY = np.stack([blob(10, 8, place).T for place in range(6)], axis=-1)


def nifti(path: Path, body: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(body, lps if affine is None else affine), path)
    return path


def stored(order: tuple[int, int, int], flips: tuple[int, int, int]) -> tuple[Any, np.ndarray]:
    """The body as a scanner may store it, and the affine that says how."""
    body = BODY[:: flips[0], :: flips[1], :: flips[2]].transpose(order)
    directions = np.diag([-1.0, -1.0, 3.0]) @ np.diag(flips)
    affine = np.eye(4)
    affine[:3, :3] = directions[:, order]
    return body, affine


def read(folder: Path, plane: str = "") -> list[Any]:
    choice, rule = Choice(plane=plane or "any"), PatientRule()
    scratch = folder / ".scratch"
    scratch.mkdir(exist_ok=True)
    return images_of(scan_nifti, folder, choice, rule, scratch=scratch)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_body_comes_back_however_it_is_stored(
    tmp_path: Path, order: tuple[int, int, int], flips: tuple[int, int, int], ending: str
) -> None:
    nifti(tmp_path / f"a{ending}", *stored(order, flips))
    axial = np.stack(read(tmp_path))
    np.testing.assert_allclose(axial, BODY.transpose(2, 1, 0), rtol=1e-6)
    sagittal = np.stack(read(tmp_path, "sagittal"))
    # From right to left; columns to the back, rows to the feet.
    np.testing.assert_allclose(sagittal, BODY.transpose(0, 2, 1)[:, ::-1], rtol=1e-6)
    coronal = np.stack(read(tmp_path, "coronal"))
    np.testing.assert_allclose(coronal, BODY.transpose(1, 2, 0)[:, ::-1], rtol=1e-6)


def test_scale_factors_complex_values_and_a_fourth_axis_are_read(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(BODY.astype(np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    image.header.set_slope_inter(2.0, 5.0)
    nibabel.save(image, tmp_path / "a.nii")
    raw = nibabel.load(tmp_path / "a.nii").get_fdata()
    np.testing.assert_allclose(np.stack(read(tmp_path)), raw.transpose(2, 1, 0), rtol=1e-5)
    (tmp_path / "a.nii").unlink()
    nifti(tmp_path / "c.nii", np.stack([BODY * 1j, BODY * 9], axis=-1).astype(np.complex64))
    np.testing.assert_allclose(np.stack(read(tmp_path)), BODY.transpose(2, 1, 0), rtol=1e-5)


def test_patients_are_read_from_bids_folders_or_a_pattern(tmp_path: Path) -> None:
    rule = PatientRule()
    assert rule("data/sub-07/anat/sub-07_T2w.nii.gz") == "sub-07"
    assert rule("miller/knee.nii") == "miller"
    assert rule("knee12.nii.gz") == "knee12"
    assert PatientRule(r"^([^_]+)_")("k12_left.png") == "k12"
    assert PatientRule(r"^([^_]+)_")("left.png") == ""
    with pytest.raises(InputError, match="one group"):
        PatientRule("abc")
    with pytest.raises(InputError, match="a regular expression"):
        PatientRule("(")


def test_labels_of_files_and_of_slices_are_found(tmp_path: Path) -> None:
    for name in ("sub-1/a.nii.gz", "sub-2/b.nii"):
        nifti(tmp_path / "in" / name, BODY.astype(np.float32))
    rows = [f"{name},{i + 1},{int(i > 3)}" for name in ("a", "sub-2/b.nii") for i in range(5)]
    labels = write_labels(tmp_path / "l.csv", "series,slice,tear", *rows)
    out = tmp_path / "s.h5"
    found = bring("nifti", tmp_path / "in", out, "--labels", labels)
    assert found["label"].ravel().tolist() == [0, 0, 0, 0, 1] * 2
    assert len(set(found["patient"])) == 2
    report = json.loads(out.with_name("s.report.json").read_text())
    assert report["unlabelled"] == {"no row in the label table": 2}


def test_damaged_nifti_files_are_left_out(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    whole = nifti(folder / "a.nii.gz", BODY.astype(np.float32)).read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    plain = gzip.decompress(whole)
    (folder / "short.nii").write_bytes(plain[: len(plain) // 2])
    (folder / "text.nii").write_text("nothing")
    nifti(folder / "nan.nii", np.full((4, 4, 2), np.nan, dtype=np.float32))
    nifti(folder / "zero.nii", np.zeros((10, 8, 2), dtype=np.float32))
    (folder / "a.json").write_text('{"PatientName": "x"}')
    found = bring("nifti", folder, out, "--size", 16)
    counts = json.loads(out.with_name("s.report.json").read_text())["skipped"]
    assert len(set(found["patient"])) in (1, 2)
    assert counts["NaN or infinite values"] == 2
    assert counts["no signal in the volume"] == 2
    assert counts["not a NIfTI file"] == 1
    assert counts["damaged or truncated NIfTI file"] >= 7


def picture(path: Path, place: float = 0.0, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = blob(20, 24, place)
    if mode == "I;16":
        Image.fromarray((grey * 30).astype(np.uint16)).save(path)
    else:
        Image.fromarray((grey / 10).astype(np.uint8)).convert(mode).save(path)
    return path


def test_pictures_of_every_kind_become_volumes_in_the_order_of_their_numbers(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    for number in (1, 2, 10):
        picture(folder / "p1" / f"slice{number}.png", number, "I;16")
        picture(folder / "p2" / f"slice{number}.jpg", number)
        picture(folder / "p3" / f"slice{number}.tif", number, "RGB")
    images = images_of(scan_pictures, folder, Choice(), PatientRule(), scratch=tmp_path)
    for start, scale in ((0, 30), (3, 0.1), (6, 0.1)):
        for image, place in zip(images[start : start + 3], (1, 2, 10)):
            np.testing.assert_allclose(image, blob(20, 24, place) * scale, atol=0.1 * image.max())
    rows = [f"p{i},{i % 2}" for i in (1, 2, 3)]
    labels = write_labels(tmp_path / "l.csv", "patient,tear", *rows)
    found = bring("images", folder, tmp_path / "s.h5", "--labels", labels)
    assert found["image"].shape == (9, 20, 24)
    assert int(found["label"].sum()) == 6


def test_colour_damaged_and_foreign_pictures_are_left_out(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    good = picture(folder / "p1" / "a.png")
    (folder / "p1" / "b.png").write_bytes(good.read_bytes()[:150])
    (folder / "p1" / "c.png").write_bytes(b"no picture")
    (folder / "p1" / "Thumbs.db").write_bytes(b"x")
    colours = np.zeros((20, 24, 3), np.uint8)
    colours[..., 0] = 200
    Image.fromarray(colours).save(folder / "p1" / "d.png")
    found = bring("images", folder, out)
    assert len(found["image"]) == 1
    counts = json.loads(out.with_name("s.report.json").read_text())["skipped"]
    assert counts == {"damaged or truncated picture": 2, "not a picture": 1, "colour image": 1}
