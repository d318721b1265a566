"""What vendors write in their own ways: Siemens' CSA header, spectroscopy as NIfTI."""

import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset

from infomri_core.data.importing.formats.dicom.mosaic import UNKNOWN_TILES, Mosaic, read_mosaic
from infomri_core.data.importing.formats.nifti_kind import SPECTRUM
from tests.data.test_import_kinds import brought, change
from tests.support.hospital_files import Series, blob, pixels
from tests.support.importing import bring

FIELDS = {"EchoLinePosition": ["64"], "NumberOfImagesInMosaic": ["3"]}


def csa(fields: dict[str, list[str]], *, version: int = 2, end: int | None = None) -> bytes:
    """A CSA header of version 1 or 2, as Siemens' scanners write it."""
    data = b"SV10\4\3\2\1" if version == 2 else b""
    data += struct.pack("<II", len(fields), 77)
    for name, values in fields.items():
        items = [*values, *[""] * (6 - len(values))]
        data += struct.pack("<64si4siii", name.encode(), 1, b"IS", 6, len(items), 77)
        for value in items:
            text = value.encode() + b"\0" if value else b""
            data += struct.pack("<4i", len(text), len(text), 77, len(text))
            data += text + b"\0" * (-len(text) % 4)
    return data[:end]


def tiled(header: bytes, *, shape: tuple[int, int] = (32, 32)) -> Any:
    def edit(dataset: Dataset) -> None:
        tiles = [blob(16, 16, place) for place in range(3)]
        picture = np.zeros(shape)
        for i, tile in enumerate(tiles):
            picture[i // 2 * 16 : i // 2 * 16 + 16, i % 2 * 16 : i % 2 * 16 + 16] = tile
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        dataset.AcquisitionMatrix, dataset.SpacingBetweenSlices = [16, 0, 0, 16], 4
        pixels(dataset, picture.astype(np.uint16)[None])
        block = dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", header)

    return edit


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("normal", "first"), [("1.0", 0), ("-1.0", 2)])
def test_a_csa_header_unpacks_its_mosaic_along_its_own_normal(
    tmp_path: Path, version: int, normal: str, first: int
) -> None:
    (path,) = Series("A1", n=1).write(tmp_path / "in")
    fields = FIELDS | {"SliceNormalVector": ["0.0", "0.0", normal]}
    change(path, tiled(csa(fields, version=version)))
    stored = bring("dicom", tmp_path / "in", tmp_path / "s.h5")
    expected = np.stack([blob(16, 16, place) for place in range(3)]).astype(np.uint16)
    expected = np.clip(expected / np.percentile(expected, 99.9), 0, 1)
    order = [first, 1, 2 - first]
    np.testing.assert_allclose(stored["image"] / 65535, expected[order], atol=2e-4)


@pytest.mark.parametrize(
    "header",
    [
        csa({"NumberOfImagesInMosaic": []}),
        csa({"NumberOfImagesInMosaic": ["many"]}),
        csa({"NumberOfImagesInMosaic": ["50"]}),
        csa({"EchoLinePosition": ["64"]}),
        csa(FIELDS, end=120),
        csa(FIELDS, end=20),
        b"SV10" + b"\xff" * 200,
        b"",
    ],
)
def test_a_mosaic_whose_csa_header_does_not_say_how_is_left_out(
    tmp_path: Path, header: bytes
) -> None:
    Series("A1", n=2).write(tmp_path / "in" / "a")
    (path,) = Series("B2", n=1).write(tmp_path / "in" / "b")
    change(path, tiled(header))
    n, found = brought(tmp_path, "dicom")
    assert (n, found["skipped"]) == (2, {UNKNOWN_TILES: 1})


@pytest.mark.parametrize(("n", "side"), [(1, 16), (2, 32), (4, 32), (5, 48), (9, 48), (10, 64)])
def test_the_grid_is_the_smallest_square_that_holds_the_slices(n: int, side: int) -> None:
    dataset = Dataset()
    dataset.Rows = dataset.Columns = side
    dataset.AcquisitionMatrix = [0, 16, 16, 0]
    block = dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa({"NumberOfImagesInMosaic": [str(n)]}))
    found = read_mosaic(dataset)
    assert isinstance(found, Mosaic)
    assert (found.n, found.grid, found.tile) == (n, side // 16, (16, 16))
    assert found.corner(n - 1) == ((n - 1) // found.grid * 16, (n - 1) % found.grid * 16)


def by_name(path: Path, image: nibabel.Nifti1Image) -> Path:
    return path.with_name("sub-B2_svs.nii.gz")


def by_intent(path: Path, image: nibabel.Nifti1Image) -> Path:
    image.header["intent_name"] = b"mrs_v0_9"
    return path


def by_extension(path: Path, image: nibabel.Nifti1Image) -> Path:
    text = b'{"SpectrometerFrequency": [123.2], "ResonantNucleus": ["1H"]}'
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(44, text))
    return path


@pytest.mark.parametrize("mark", [by_name, by_intent, by_extension])
@pytest.mark.parametrize("shape", [(1, 1, 1, 64), (8, 8, 1, 64)])
def test_spectroscopy_as_nifti_is_no_image_and_stops_nothing(
    tmp_path: Path, mark: Any, shape: tuple[int, ...]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    slices = np.stack([blob(16, 16, i) for i in range(2)], axis=-1).astype(np.float32)
    nibabel.Nifti1Image(slices, np.eye(4)).to_filename(folder / "sub-A1_T1w.nii")
    image = nibabel.Nifti1Image(np.ones(shape, dtype=np.complex64), np.eye(4))
    image.to_filename(mark(folder / "sub-B2.nii", image))
    n, found = brought(tmp_path, "nifti")
    assert (n, found["skipped"]) == (2, {SPECTRUM: 1})
