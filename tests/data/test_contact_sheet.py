"""The slice of every finding stands on the contact sheet, as it is in the archive."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from infomri_core.data.checking.sheet import CAPTION, COLUMNS, TILE
from infomri_core.data.phantom.dataset import open_phantom
from infomri_core.data.uri import parse_uri
from tests.support.importing import call

SIDE, N = 96, 24
TILED, EMPTY, PHASE, SIGNED, ABORTED, FIRST, AGAIN, MASK = 3, 5, 7, 9, 11, 14, 19, 22
REASONS = {
    TILED: "several slices in one picture?",
    EMPTY: "almost empty",
    PHASE: "phase image?",
    SIGNED: "negative values: phase?",
    ABORTED: "blurred along one axis: aborted scan?",
    FIRST: f"nearly the same, other patient ({AGAIN})",
    AGAIN: f"nearly the same, other patient ({FIRST})",
    MASK: "few grey values: a mask?",
}


def slices() -> np.ndarray:
    dataset, _ = open_phantom(parse_uri(f"phantom:?patients={N // 2}&slices=2&size={SIDE}"))
    images = dataset.images(range(N)).numpy()
    small = np.asarray(Image.fromarray(images[TILED]).resize((32, 32)))
    images[TILED] = np.tile(np.pad(small[4:28, 4:28], 4), (3, 3))
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    inside = (y - SIDE / 2) ** 2 + (x - SIDE / 2) ** 2 < SIDE**2 / 8
    noise = np.random.default_rng(0).random((SIDE, SIDE))
    images[PHASE] = np.where(inside, (x + y) / 40 % 1, noise)
    kept = np.abs(np.arange(SIDE) - SIDE // 2) < 8
    kspace = np.fft.fftshift(np.fft.fft2(images[ABORTED])) * kept[:, None]
    images[ABORTED] = np.abs(np.fft.ifft2(np.fft.ifftshift(kspace)))
    images[AGAIN] = np.round(images[FIRST] * 200) / 200
    images[MASK] = images[MASK] > 0.4
    images[EMPTY] = 0.01
    images[SIGNED] = images[SIGNED] * np.cos((x - y) / 12)
    return np.asarray(images)


def tiles(sheet: Path) -> list[np.ndarray]:
    with Image.open(sheet) as picture:
        grey = np.asarray(picture)
    corners = [
        (26 + row * (TILE + CAPTION), 8 + column * (TILE + 8))
        for row in range((grey.shape[0] - 34) // (TILE + CAPTION))
        for column in range(min(COLUMNS, (grey.shape[1] - 8) // (TILE + 8)))
    ]
    return [grey[y : y + TILE, x : x + TILE] for y, x in corners]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, dict[int, str], Path]:
    path, images = tmp_path_factory.mktemp("sheet") / "a.h5", slices()
    with h5py.File(path, "w") as file:
        file["image"] = images
        file["patient"] = np.array([f"p{i // 2}" for i in range(N)], dtype=h5py.string_dtype())
        file["label"] = (np.arange(N) // 2 % 2).astype(np.uint8)
    told = json.loads(call("check", path, "--json").stdout)
    return images, {one["row"]: one["reason"] for one in told["suspicious"]}, Path(told["sheet"])


def test_each_finding_has_its_reason_and_no_good_slice_has_one(
    checked: tuple[np.ndarray, dict[int, str], Path],
) -> None:
    assert checked[1] == REASONS


def test_a_slice_of_one_value_is_black(checked: tuple[np.ndarray, dict[int, str], Path]) -> None:
    assert sum(tile[2:-2, 2:-2].max() == 0 for tile in tiles(checked[2])) == 1


@pytest.mark.parametrize("row", sorted(REASONS.keys() - {EMPTY}))
def test_the_sheet_shows_the_slice_of_each_finding(
    checked: tuple[np.ndarray, dict[int, str], Path], row: int
) -> None:
    images, _, sheet = checked
    wanted = Image.fromarray(images[row].astype(np.float32)).resize((TILE, TILE))
    inside = np.s_[2:-2, 2:-2]  # without the frame that is drawn around it
    picture = np.asarray(wanted)[inside].ravel()
    shown = [tile[inside].ravel() for tile in tiles(sheet)]
    like = [np.corrcoef(picture, tile)[0, 1] for tile in shown if tile.std() > 0]
    assert max(like) > 0.98
