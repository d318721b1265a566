"""Pictures as programs write them: pages, depths, palettes, transparency, white as zero."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infomri_core.data.importing.component import MASK, PARAMETRIC
from infomri_core.data.importing.formats import picture_kind as kinds
from infomri_core.inference.scans import open_scan
from infomri_core.system.errors import InputError
from tests.data.test_import_kinds import brought
from tests.support.hospital_files import blob, write_labels
from tests.support.importing import bring

GREY8 = (blob(32, 32) / 5).astype(np.uint8)
GREY16 = (blob(32, 32) * 50).astype(np.uint16)


def tiff(pages: list[np.ndarray], order: str = "<", photometric: int = 1) -> bytes:
    """A TIFF file of uint8 or uint16 pages, byte for byte."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + b"\0\0\0\0"
    link = 4
    for page in pages:
        bits, (height, width) = 8 * page.itemsize, page.shape
        raw = page.astype(page.dtype.newbyteorder(order)).tobytes()
        start, at = len(data), len(data) + len(raw)
        data = data[:link] + struct.pack(order + "I", at) + data[link + 4 :] + raw
        entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1)]
        entries += [(262, 3, photometric), (273, 4, start), (277, 3, 1), (279, 4, len(raw))]
        data += struct.pack(order + "H", len(entries))
        for tag, kind, value in entries:
            packed = struct.pack(order + "HH", value, 0) if kind == 3 else b""
            data += struct.pack(order + "HHI", tag, kind, 1)
            data += packed or struct.pack(order + "I", value)
        link = len(data)
        data += b"\0\0\0\0"
    return data


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def scaled(volume: np.ndarray) -> np.ndarray:
    return np.clip(volume / np.percentile(volume, 99.9), 0, 1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_all_pages_of_a_tiff_are_slices_in_their_order(
    tmp_path: Path, order: str, dtype: Any
) -> None:
    pages = [(blob(32, 32, i) / 8).astype(dtype) for i in range(5)]
    write(tmp_path / "in" / "a.tif", tiff(pages, order))
    labels = write_labels(
        tmp_path / "l.csv", "series,slice,tear", *(f"a.tif,{i + 1},{i % 2}" for i in range(5))
    )
    stored = bring("images", tmp_path / "in", tmp_path / "s.h5", "--labels", labels)
    np.testing.assert_allclose(stored["image"] / 65535, scaled(np.stack(pages)), atol=2e-5)
    assert stored["label"].ravel().tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(stored["relative_position"], [0, 0.25, 0.5, 0.75, 1])


def test_a_thumbnail_among_the_pages_is_left_out_in_words(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.tif", tiff([GREY8, GREY8[::4, ::4].copy(), GREY8 // 2]))
    n, found = brought(tmp_path, "images")
    assert (n, found["skipped"]) == (2, {kinds.OTHER_PAGE: 1})


def test_pictures_of_two_depths_do_not_share_a_grey_scale(tmp_path: Path) -> None:
    (tmp_path / "in" / "A").mkdir(parents=True)
    Image.fromarray(GREY8).save(tmp_path / "in" / "A" / "1.png")
    Image.fromarray(GREY16).save(tmp_path / "in" / "A" / "2.png")
    stored = bring("images", tmp_path / "in", tmp_path / "s.h5")
    assert len(set(stored["patient"])) == 1
    assert [image.max() for image in stored["image"]] == [65535, 65535]


def mode(name: str) -> Callable[[Path], None]:
    first = "RGB" if name == "LAB" else "L"
    return lambda path: Image.fromarray(GREY8).convert(first).convert(name).save(path)


def transparent(path: Path) -> None:
    image = Image.fromarray(GREY8).convert("LA")
    image.putalpha(Image.fromarray(255 - GREY8))
    image.save(path)


def palette_with_holes(path: Path) -> None:
    Image.fromarray(GREY8).convert("P").save(path, transparency=0)


def white_is_zero(path: Path) -> None:
    path.write_bytes(tiff([65535 - GREY16], photometric=0))


def drawing(path: Path) -> None:
    Image.fromarray(GREY8 > 100).save(path)


@pytest.mark.parametrize(
    ("name", "save", "reason"),
    [
        ("x.png", transparent, kinds.TRANSPARENT),
        ("x.png", palette_with_holes, kinds.TRANSPARENT),
        ("x.png", drawing, kinds.BLACK_AND_WHITE),
        ("x.jpg", mode("CMYK"), kinds.COLOUR),
        ("x.tif", mode("LAB"), kinds.COLOUR),
        ("x.tif", white_is_zero, kinds.WHITE_IS_ZERO),
        ("x.gif", mode("L"), kinds.OTHER_FORMAT),
        ("x.webp", mode("L"), kinds.OTHER_FORMAT),
        ("x_mask.png", mode("L"), MASK),
        ("patient001_gt.png", mode("L"), MASK),
        ("x_adc.png", mode("L"), PARAMETRIC),
    ],
)
def test_what_is_no_grey_picture_of_a_scan_has_its_reason(
    tmp_path: Path, name: str, save: Callable[[Path], None], reason: str
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(GREY8).save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / name)
    n, found = brought(tmp_path, "images")
    assert (n, found["skipped"]) == (1, {reason: 1})


@pytest.mark.parametrize("name", ["L", "P", "RGB", "RGBA"])
def test_grey_is_read_from_every_usual_mode(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    mode(name)(tmp_path / "in" / "a.png")
    stored = bring("images", tmp_path / "in", tmp_path / "s.h5")
    np.testing.assert_allclose(stored["image"][0] / 65535, scaled(GREY8), atol=0.03)


def test_white_is_zero_of_eight_bits_is_turned_round(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.tif", tiff([255 - GREY8], photometric=0))
    stored = bring("images", tmp_path / "in", tmp_path / "s.h5")
    np.testing.assert_allclose(stored["image"][0] / 65535, scaled(GREY8), atol=2e-5)


def test_an_animation_is_not_diagnosed_by_its_first_frame(tmp_path: Path) -> None:
    one, other = Image.fromarray(GREY8), Image.fromarray(GREY8 // 2)
    one.save(tmp_path / "a.png", save_all=True, append_images=[other])
    with pytest.raises(InputError, match="a PNG of one picture, got several frames"):
        open_scan(str(tmp_path / "a.png"), GREY8.shape)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize(("mark", "taken"), [(1, 1), (3, 0), (6, 0)])
def test_a_picture_that_a_mark_turns_is_left_out(
    tmp_path: Path, ending: str, mark: int, taken: int
) -> None:
    exif = Image.Exif()
    exif[274] = mark
    Image.fromarray(GREY8).save(tmp_path / f"a.{ending}", exif=exif)
    kind = kinds.picture_kind(tmp_path / f"a.{ending}")
    assert kind == kinds.TURNED if not taken else not isinstance(kind, str)
