"""Files as scanners, converters and spreadsheets write them: read right, or left out in words."""

import json
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

from infomri_core.data import open_dataset
from infomri_core.data.importing.component import MASK, PARAMETRIC
from infomri_core.data.importing.formats.dicom.mosaic import UNKNOWN_TILES
from infomri_core.data.importing.tables.label_table import Kind, read_labels
from infomri_core.system.errors import InputError
from tests.data.test_field_files import fast, kspace
from tests.data.test_import_kinds import brought, change, types
from tests.support.hospital_files import Series, blob, multi_frame, pixels
from tests.support.importing import bring


def scaled(volume: np.ndarray) -> np.ndarray:
    return np.clip(volume / np.percentile(volume, 99.9), 0, 1)


def uih(dataset: Dataset, n: int = 5, places: int = 5) -> None:
    """A GRID of United Imaging: 3 columns, 2 rows, slices counted from the head."""
    picture = np.zeros((32, 48))
    for i in range(n):
        picture[i // 3 * 16 : i // 3 * 16 + 16, i % 3 * 16 : i % 3 * 16 + 16] = blob(16, 16, i)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
    dataset.AcquisitionMatrix = [16, 0, 0, 16]
    pixels(dataset, picture.astype(np.uint16)[None])
    block = dataset.private_block(0x65, "Image Private Header", create=True)
    if n:
        block.add_new(0x50, "DS", str(n))
    items = []
    for i in range(places):
        items.append(Dataset())
        items[-1].ImagePositionPatient = [0, 0, 100 - 4 * i]
    block.add_new(0x51, "SQ", Items(items))


def test_a_grid_of_united_imaging_becomes_its_slices_in_their_places(tmp_path: Path) -> None:
    (path,) = Series("A1", n=1).write(tmp_path / "in")
    change(path, uih)
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5")
    expected = np.stack([blob(16, 16, i) for i in range(5)])[::-1].astype(np.uint16)
    np.testing.assert_allclose(stored["image"] / 65535, scaled(expected), atol=2e-4)


def test_a_grid_that_does_not_say_how_many_is_left_out(tmp_path: Path) -> None:
    Series("A1", n=2).write(tmp_path / "in" / "a")
    (path,) = Series("B2", n=1).write(tmp_path / "in" / "b")
    change(path, lambda dataset: uih(dataset, n=0))
    n, found = brought(tmp_path, "dicom")
    assert (n, found["skipped"]) == (2, {UNKNOWN_TILES: 1})


@pytest.mark.parametrize(
    "words",
    [("DIFFUSION", "ADC"), ("DIFFUSION", "FA"), ("T1 MAP", "T1"), ("T2_STAR MAP",), ("M", "SUB")],
)
def test_parametric_maps_are_no_magnitude_images(tmp_path: Path, words: tuple[str, ...]) -> None:
    Series("A1", n=2).write(tmp_path / "in" / "a")
    (path,) = Series("B2", n=1).write(tmp_path / "in" / "b")
    change(path, types(*words))
    n, found = brought(tmp_path, "dicom")
    assert (n, found["skipped"]) == (2, {PARAMETRIC: 1})


@pytest.mark.parametrize("slopes", [(0.5, 0.5), (0.5, 2.0)])
def test_philips_slices_of_several_scale_slopes_share_one_scale(
    tmp_path: Path, slopes: tuple[float, float]
) -> None:
    """What was 1000 and 500 in the patient, displayed with a slope of its own in each slice."""
    truth = np.stack([blob(32, 32), 0.5 * blob(32, 32)])
    for path in Series("A1", n=2).write(tmp_path / "in"):

        def edit(dataset: Dataset) -> None:
            number = int(dataset.InstanceNumber) - 1
            pixels(dataset, np.round(truth[number] * slopes[number])[None].astype(np.uint16))
            dataset.Manufacturer = "Philips"
            dataset.RescaleSlope, dataset.RescaleIntercept = 3.0, 0.0
            block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0E, "FL", slopes[number])

        change(path, edit)
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5")
    np.testing.assert_allclose(stored["image"] / 65535, scaled(truth), atol=5e-3)


def test_stored_bits_alone_are_read(tmp_path: Path) -> None:
    """An overlay in the four bits above twelve (as before 2004), and signed values of twelve."""
    paths = Series("A1", n=2).write(tmp_path / "in")

    def edit(dataset: Dataset) -> None:
        signed = int(dataset.InstanceNumber) == 2
        values = blob(32, 32).astype(int)
        values[:2] = -20 if signed else values[:2] + 0x8000
        pixels(dataset, (values & (0xFFF if signed else 0xFFFF))[None].astype(np.uint16))
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, int(signed)

    for path in paths:
        change(path, edit)
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5")["image"]
    np.testing.assert_allclose(stored[0][2:], stored[1][2:], atol=1)
    assert stored[0][:2].max() > 0 == stored[1][:2].max()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, None])
def test_every_lossless_encoding_gives_the_same_slices(tmp_path: Path, syntax: Any) -> None:
    Series("A1", n=2).write(tmp_path / "plain")
    paths = Series("A1", n=2).write(tmp_path / "in")
    for path in paths:
        dataset = pydicom.dcmread(path)
        if syntax is None:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            how = {"force_encoding": True, "little_endian": False, "implicit_vr": False}
            pydicom.dcmwrite(path, dataset, **how)
        else:
            dataset.compress(syntax)
            dataset.save_as(path)
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5")
    expected = bring("dicom", tmp_path / "plain", tmp_path / "t.h5")
    np.testing.assert_array_equal(stored["image"], expected["image"])


def test_frames_of_one_object_have_slopes_of_their_own(tmp_path: Path) -> None:
    truth = np.stack([blob(32, 32), 0.25 * blob(32, 32)])
    stored = np.stack([truth[0], truth[1] * 4]).astype(np.uint16)
    multi_frame(tmp_path / "in" / "a.dcm", "A1", stored, [1.0, 0.25])
    found = bring("dicom", tmp_path / "in", tmp_path / "s.h5")["image"] / 65535
    np.testing.assert_allclose(found, scaled(truth)[::-1], atol=5e-3)


PLAIN = np.diag([1.0, 1, 4, 1])


def nifti(path: Path, data: np.ndarray, affine: np.ndarray | None = PLAIN) -> None:
    """Without an affine the header states no orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_zooms((1, 1, 4, 1, 1)[: data.ndim])
    image.to_filename(path)


VOLUME = np.stack([blob(16, 20, z).T for z in range(3)], axis=2)


def test_five_dimensions_give_the_first_volume_and_name_the_rest(tmp_path: Path) -> None:
    data = np.stack([VOLUME, 2 * VOLUME, 3 * VOLUME, 4 * VOLUME], axis=-1)
    nifti(tmp_path / "in" / "a.nii", data.reshape(20, 16, 3, 2, 2).astype(np.float64))
    nifti(tmp_path / "one" / "a.nii", VOLUME.astype(np.float32))
    stored = bring("nifti", tmp_path / "in", tmp_path / "s.h5")
    expected = bring("nifti", tmp_path / "one", tmp_path / "t.h5")
    np.testing.assert_allclose(stored["image"], expected["image"], atol=1)
    report = json.loads((tmp_path / "s.report.json").read_text())
    assert report["skipped"] == {"further volumes of a 4-D file (echoes, time points)": 9}


def test_a_slice_with_nan_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    data = VOLUME.astype(np.float64).copy()
    data[3, 3, 1] = np.nan
    nifti(tmp_path / "in" / "a.nii.gz", data)
    n, found = brought(tmp_path, "nifti")
    assert (n, found["skipped"]) == (2, {"NaN or infinite values": 1})


def test_a_sheared_affine_is_sliced_along_its_own_axes(tmp_path: Path) -> None:
    """A gantry tilt: the slices' axis is not perpendicular to them."""
    affine = np.array([[1, 0, 0, 0], [0, 1, 1.5, 0], [0, 0, 4, 0], [0, 0, 0, 1.0]])
    nifti(tmp_path / "in" / "a.nii", VOLUME.astype(np.float32), affine)
    nifti(tmp_path / "one" / "a.nii", VOLUME.astype(np.float32))
    stored = bring("nifti", tmp_path / "in", tmp_path / "s.h5")
    expected = bring("nifti", tmp_path / "one", tmp_path / "t.h5")
    np.testing.assert_array_equal(stored["image"], expected["image"])


def test_an_orientation_that_nobody_stated_is_warned_about(tmp_path: Path) -> None:
    nifti(tmp_path / "in" / "a.nii", VOLUME.astype(np.float32), None)
    nifti(tmp_path / "in" / "b.nii", VOLUME.astype(np.float32))
    n, found = brought(tmp_path, "nifti")
    assert n == 6
    assert [w for w in found["warnings"] if "orientation" in w] == [
        "NIfTI files that state no orientation (qform and sform 0)"
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sub-1_desc-brain_mask.nii.gz", MASK),
        ("sub-1_dseg.nii", MASK),
        ("patient001_frame01_gt.nii", MASK),
        ("sub-1_T1map.nii", PARAMETRIC),
        ("sub-1_adc.nii.gz", PARAMETRIC),
    ],
)
def test_masks_and_maps_beside_a_scan_are_not_slices(
    tmp_path: Path, name: str, reason: str
) -> None:
    nifti(tmp_path / "in" / "sub-1_T1w.nii", VOLUME.astype(np.float32))
    nifti(tmp_path / "in" / name, (VOLUME > 500).astype(np.uint8))
    n, found = brought(tmp_path, "nifti")
    assert (n, sum(found["skipped"].values())) == (3, found["skipped"][reason])


def test_an_accelerated_fastmri_file_without_its_mask_is_refused(tmp_path: Path) -> None:
    path = fast(tmp_path / "in" / "a.h5", kspace())
    fast(tmp_path / "in" / "b.h5", kspace())
    with h5py.File(path, "a") as file:
        file.attrs["acceleration"] = np.int64(4)
    with pytest.raises(InputError, match="acceleration: expected fully sampled k-space, got 4"):
        open_dataset(f"fastmri:{path.parent}?size=32")


@pytest.mark.parametrize(
    "text",
    [
        "patient;tear\nA1;1,0\nB2;0,0\n",
        "\ufeffpatient;tear \r\nA1 ; 1\r\nB2;0\r\n\r\n",
        "patient\ttear\nA1\t1\nB2\t0.00\n",
        'patient,tear\n"A1","1.0"\nA1,1\nB2,0\n',
        "patient;tear;\nA1;1;\nB2;0;\n;;\n",
    ],
)
def test_tables_of_every_spreadsheet_say_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "l.csv"
    path.write_bytes(text.encode())
    table = read_labels(path)
    assert table.kind is Kind.BINARY and table.names == ("tear",)
    assert {key: row.labels for key, row in table.rows.items()} == {("A1",): (1,), ("B2",): (0,)}


@pytest.mark.parametrize("cell", ["1,000", "1.000", "10,0e1"])
def test_thousands_are_not_taken_for_one(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "l.csv"
    path.write_text(f"patient;tear\nA1;{cell}\nB2;0\n")
    with pytest.raises(InputError, match="another number"):
        read_labels(path)
