"""Files made to fill memory and disk when they are unpacked: none of them is."""

import gzip
import io
import resource
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from infomri_core.data.hdf5.limits import VARIABLE, inflates_within
from infomri_core.data.importing.bounds import BOMB, FRAMES, codestream_size
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.formats.dicom.scan import scan_dicom
from infomri_core.data.importing.formats.nifti import scan_nifti
from infomri_core.data.importing.formats.pictures import scan_pictures
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import Journal, Left
from tests.support.hospital_files import Series, shipped


def dicom(folder: Path, change: Callable[[pydicom.Dataset], None]) -> Path:
    (path,) = Series("A", n=1, shape=(16, 16)).write(folder)
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def deflate(dataset: pydicom.Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.private_block(9, "X", create=True).add_new(1, "OB", bytes(8 << 20))


def count_frames(dataset: pydicom.Dataset) -> None:
    dataset.NumberOfFrames = 2**31 - 1


def enlarge(kind: str, syntax: str) -> Callable[[pydicom.Dataset], None]:
    """A codestream of 4096 x 4096 in a frame of 16 x 16."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4096, 4096), dtype=np.uint8)).save(stream, kind, **OPTIONS[kind])

    def change(dataset: pydicom.Dataset) -> None:
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].VR = "OB"

    return change


OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {}, "JPEG2000": {"no_jp2": True}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (deflate, BOMB),
        (count_frames, FRAMES),
        (enlarge("JPEG2000", JPEG2000Lossless), BOMB),
        (enlarge("JPEG", JPEGBaseline8Bit), BOMB),
    ],
)
def test_dicom_bombs_are_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pydicom.Dataset], None],
    reason: str,
) -> None:
    monkeypatch.setenv(VARIABLE, "0.004")
    dicom(tmp_path / "in", change)
    journal = Journal()
    volumes = scan_dicom(tmp_path / "in", Choice(), journal, lambda: None)
    left = [one.reason for v in volumes for one in v.read(tmp_path) if isinstance(one, Left)]
    assert [*journal.skipped, *left] == [reason]


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"])
def test_the_size_of_honest_codestreams_is_found(name: str) -> None:
    dataset = pydicom.dcmread(shipped(name))
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    expected = None if "RLE" in name else (dataset.Rows, dataset.Columns)
    assert codestream_size(frame) == expected


def test_a_compressed_nifti_file_fills_no_disk(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    content = nibabel.Nifti1Image(np.ones((8, 8, 4), dtype=np.uint8), np.eye(4)).to_bytes()
    path = tmp_path / "in" / "a.nii.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content + bytes(32 << 20)))
    (found,) = scan_nifti(path.parent, Choice(), PatientRule(), Journal(), lambda: None)
    assert len(list(found.read(tmp_path))) == 4
    assert (tmp_path / "volume.nii").stat().st_size == len(content)


def test_pictures_are_bounded_before_they_are_decoded(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("1", (8200, 8)).save(folder / "wide.png")
    Image.new("L", (8, 8), 9).save(folder / "a.png")
    Image.new("L", (8, 8), 9).save(folder / "gif.png", "GIF")
    journal = Journal()
    found = scan_pictures(folder, Choice(), PatientRule(), journal, lambda: None)
    assert [v.series for v in found] == [(".",)] and sum(journal.skipped.values()) == 2


@pytest.mark.parametrize(("kind", "window"), [("zlib", 15), ("raw", -15), ("gzip", 31)])
def test_streams_are_measured_without_being_held(tmp_path: Path, kind: str, window: int) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    packed = packer.compress(bytes(48 << 20)) + packer.flush()
    path = tmp_path / "x"
    path.write_bytes(b"head" + packed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert inflates_within(path, 4, len(packed), 48 << 20, kind)
    assert not inflates_within(path, 4, len(packed), (48 << 20) - 1, kind)
    assert inflates_within(path, 4, 10, 1, kind), "a damaged stream is for its reader to refuse"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 << 10
