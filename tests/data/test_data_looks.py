"""What is no single magnitude image is shown; what is one is not."""

import numpy as np
import pytest

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
    assert repeats.pairs() == [(3, 20)]
    repeats.add(21, "p1", images[3] + noise)
    assert (3, 21) not in repeats.pairs()
