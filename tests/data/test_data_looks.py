"""What is no single magnitude image is shown; what is one is not."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from infomri_core.data.checking.looks import (
    Repeats,
    aborted_rows,
    detail_ratio,
    looks_like_phase,
    looks_tiled,
)
from infomri_core.data.phantom.dataset import open_phantom
from infomri_core.data.uri import parse_uri


def knees() -> np.ndarray:
    dataset, _ = open_phantom(parse_uri("phantom:?patients=10&slices=2"))
    return dataset.images(range(20)).numpy()


def test_phantoms_look_like_what_they_are() -> None:
    images = knees()
    assert not any(looks_like_phase(image) or looks_tiled(image) for image in images)
    details = {i: detail_ratio(image) for i, image in enumerate(images)}
    assert aborted_rows(details, np.full(len(images), "H1")) == []


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (2, 3), (3, 4)])
def test_tiles_are_seen(grid: tuple[int, int]) -> None:
    """As many rows as columns (Siemens), or one fewer (United Imaging)."""
    one = np.pad(knees()[0][8:56, 8:56], 8)
    assert looks_tiled(np.tile(one, grid))


def test_phase_is_seen() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64]
    phase = np.where((y - 32) ** 2 + (x - 32) ** 2 < 400, (x + y) / 30 % 1, rng.random((64, 64)))
    assert looks_like_phase(phase)
    assert not looks_like_phase(np.clip(rng.normal(0.2, 0.1, (64, 64)), 0, 1))


def test_tiles_of_a_picture_that_was_resampled_are_seen() -> None:
    tiles = np.tile(np.pad(knees()[0][8:56, 8:56], 8), (3, 3))
    resampled = Image.fromarray(tiles.astype(np.float32)).resize((128, 128))
    assert looks_tiled(np.asarray(resampled))


def test_phase_with_a_background_of_one_value_is_seen() -> None:
    y, x = np.mgrid[0:64, 0:64]
    inside = (y - 32) ** 2 + (x - 32) ** 2 < 700
    assert looks_like_phase(np.where(inside, (x + y) / 20.3 % 1, 0.0))


@pytest.mark.parametrize("level", [0.4, 0.5, 0.6])
def test_signed_values_that_were_shifted_are_seen(level: float) -> None:
    """The real part of a scan, stored with an offset: the background is grey."""
    y, x = np.mgrid[0:64, 0:64]
    real = knees()[0] * np.cos((x - y) / 9)
    assert looks_like_phase(level + 0.4 * np.clip(real / np.quantile(np.abs(real), 0.999), -1, 1))


def test_pictures_with_edges_of_padding_or_a_cut_are_no_phase_and_no_aborted_scan() -> None:
    images = knees()
    images[:, :20] = 0.0
    images[4, 44:] = 0.0
    images[5, :, :50] = 0.0
    assert not any(looks_like_phase(image) or looks_tiled(image) for image in images)
    details = {i: detail_ratio(image) for i, image in enumerate(images)}
    assert aborted_rows(details, np.full(len(images), "H1")) == []


@pytest.mark.parametrize("axis", [0, 1])
def test_a_scan_of_a_few_lines_stands_out(axis: int) -> None:
    images = knees()
    kspace = np.fft.fftshift(np.fft.fft2(images[4]))
    keep = np.abs(np.arange(64) - 32) < 6
    cut = kspace * (keep[:, None] if axis == 0 else keep)
    images[4] = np.abs(np.fft.ifft2(np.fft.ifftshift(cut)))
    details = {i: detail_ratio(image) for i, image in enumerate(images)}
    assert aborted_rows(details, np.full(20, "H1")) == [4]


def test_the_same_picture_in_another_export_is_found_under_two_patients_only() -> None:
    images, repeats = knees(), Repeats()
    for row, image in enumerate(images):
        repeats.add(row, f"p{row // 2}", image)
    assert repeats.pairs() == []
    noise = np.random.default_rng(0).normal(0, 0.005, images[3].shape)
    repeats.add(20, "other", np.round(images[3] * 255) / 255 + noise)
    assert repeats.pairs() == [(3, 20, False)]
    repeats.add(21, "p1", images[3] + noise)
    assert (3, 21) not in [pair[:2] for pair in repeats.pairs()]


@pytest.mark.parametrize(
    ("export", "turned"),
    [
        (lambda image: image**0.7, False),
        (lambda image: np.minimum(1.2 * image, 1.0), False),
        (lambda image: image[:, ::-1], True),
        (np.rot90, True),
        (lambda image: np.rot90(image[::-1]) ** 1.2, True),
    ],
)
def test_another_gamma_window_or_position_of_a_picture_is_the_same_picture(
    export: Callable[[np.ndarray], np.ndarray], turned: bool
) -> None:
    images, repeats = knees(), Repeats()
    for row, image in enumerate(images):
        repeats.add(row, f"p{row // 2}", image)
    repeats.add(20, "other", np.ascontiguousarray(export(images[5])))
    assert repeats.pairs() == [(5, 20, turned)]
