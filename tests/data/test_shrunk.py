"""Data at a lower resolution: means of images, majorities of outlines, whole squares only."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from infomri_core.data import open_dataset
from infomri_core.data.base import ABSENT
from infomri_core.system.errors import InputError

N, SIDE = 6, 32


@pytest.fixture
def archive(tmp_path: Path) -> str:
    rng = np.random.default_rng(5)
    with h5py.File(tmp_path / "knees.h5", "w") as file:
        file["image"] = rng.gamma(2.0, 20.0, (N, SIDE, SIDE)).astype(np.float32)
        file["label"] = np.arange(N) % 2
        file["patient"] = [f"p{i}" for i in range(N)]
        file["group"] = [("north", "south")[i % 2] for i in range(N)]
        file["masks"] = rng.integers(0, 2, (N, 2, SIDE, SIDE)).astype(np.uint8)
        file["rater_present"] = np.array([[1, i % 2] for i in range(N)], np.uint8)
    return f"slices:{tmp_path}/knees.h5"


def test_images_are_means_and_outlines_majorities_of_the_squares(archive: str) -> None:
    whole, small = open_dataset(archive), open_dataset(f"{archive}?shrink=2")
    rows = [4, 1, 1]
    assert small.shape == (16, 16) and small.table.patients.tolist() == [f"p{i}" for i in range(N)]
    squares = whole.images(rows).unfold(1, 2, 2).unfold(2, 2, 2)
    torch.testing.assert_close(small.images(rows), squares.mean((-2, -1)))
    inside = whole.ratings(rows).unfold(3, 2, 2).unfold(4, 2, 2).float().mean((-2, -1)) >= 0.5
    found, present = small.ratings(rows), torch.tensor([[1, 0], [1, 1], [1, 1]]) > 0
    assert torch.equal(found[present], inside[present].to(torch.uint8))
    assert (found[~present] == ABSENT).all()
    masks = small.masks(rows)
    assert masks.shape == (3, 1, 16, 16) and masks.max() <= 1


def test_a_factor_that_leaves_part_of_a_square_or_too_little_is_refused(archive: str) -> None:
    for factor, words in (("3", "factor of both sides"), ("4", "16 pixels"), ("0", "at least 1")):
        with pytest.raises(InputError, match=words):
            open_dataset(f"{archive}?shrink={factor}")


def test_another_column_can_say_whose_a_slice_is(archive: str) -> None:
    data = open_dataset(f"{archive}?hospitals_from=group&hospital=south")
    assert data.table.patients.tolist() == ["p1", "p3", "p5"]
    with pytest.raises(InputError, match="'group'"):
        open_dataset(f"{archive}?hospitals_from=grupp")
