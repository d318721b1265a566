"""Outlines beside images: who drew them, what they are, and raters that are simulated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infomri_core.data import open_dataset
from infomri_core.data.base import ABSENT
from infomri_core.data.outlines.simulated import rate
from infomri_core.data.phantom.dataset import PhantomOptions, open_phantom
from infomri_core.data.pool import pool
from infomri_core.data.uri import parse_uri
from infomri_core.system.errors import InputError
from tests.data.test_data_slices import H, N, W, write_archive

DRAWN = np.random.default_rng(2).integers(0, 4, (N, 3, H, W)).astype(np.uint8)
URI = "phantom:?ambiguous=1&patients=12&slices=2&size=48&seed=4&raters=5"


def test_several_raters_are_read_with_who_was_present(tmp_path: Path) -> None:
    present = np.ones((N, 3), bool)
    present[5, 1] = False
    path = write_archive(tmp_path / "a.h5", masks=DRAWN, rater_present=present)
    data = open_dataset(f"slices:{path}?outlines=RV,MYO,LV")
    assert data.mask_names == ("RV", "MYO", "LV") and data.n_raters == 3
    rows = np.array([5, 2, 5])
    found = data.ratings(rows)
    assert found.shape == (3, 3, 3, H, W) and (found[[0, 2], 1] == ABSENT).all()
    for name in range(3):
        assert np.array_equal(found[1, :, name], DRAWN[2] == name + 1)
    both = (DRAWN[5, 0] == 1) & (DRAWN[5, 2] == 1)
    assert np.array_equal(data.masks(rows)[0, 0], both)


def test_one_mask_without_names_is_whatever_is_not_zero(tmp_path: Path) -> None:
    data = open_dataset(f"slices:{write_archive(tmp_path / 'a.h5', mask=DRAWN[:, 0])}")
    assert data.mask_names == ("mask",) and data.n_raters == 1
    assert np.array_equal(data.ratings([3])[0, 0, 0], DRAWN[3, 0] > 0)
    assert torch.equal(data.masks([3]), data.ratings([3])[:, 0])


@pytest.mark.parametrize(
    ("options", "columns", "expected"),
    [
        ("", {"masks": DRAWN[:, :, 1:]}, r"\(n, R, H, W\)"),
        ("", {"masks": DRAWN[:, 0]}, r"\(n, R, H, W\)"),
        ("", {"masks": DRAWN, "mask": DRAWN[:, 0]}, "both"),
        ("", {"masks": DRAWN, "rater_present": np.ones(N)}, "zeros and ones"),
        ("?outlines=RV", {}, "a data set 'mask'"),
        ("?raters=4", {}, "outlines of one rater"),
        ("?raters=4", {"masks": DRAWN}, "those of 3 raters"),
        ("?raters=1", {"mask": DRAWN[:, 0]}, "2 .. 16"),
    ],
)
def test_outlines_that_do_not_fit_are_refused(
    tmp_path: Path, options: str, columns: dict[str, Any], expected: str
) -> None:
    path = write_archive(tmp_path / "a.h5", **columns)
    with pytest.raises(InputError, match=expected):
        open_dataset(f"slices:{path}{options}")


def test_a_value_without_a_name_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.h5", mask=DRAWN[:, 0])
    with pytest.raises(InputError, match=r"0 \.\. 2"):
        open_dataset(f"slices:{path}?outlines=RV,MYO").ratings(np.arange(N))


def test_simulated_raters_do_not_depend_on_how_the_data_are_opened(tmp_path: Path) -> None:
    mask = np.zeros((N, H, W), np.uint8)
    mask[:, 3:9, 2:8] = 1
    path = write_archive(tmp_path / "a.h5", mask=mask)
    whole = open_dataset(f"slices:{path}?raters=3")
    part = open_dataset(f"slices:{path}?raters=3&hospital=south")
    assert whole.simulated_raters and part.simulated_raters and part.n_raters == 3
    keep = np.flatnonzero(whole.table.hospital == "south")
    assert torch.equal(part.ratings(np.arange(len(part))), whole.ratings(keep))
    drawn = whole.ratings(np.arange(N)).float()
    assert all((drawn[:, i] != drawn[:, j]).any() for i, j in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(pool([whole, whole]).ratings([N + 1]), whole.ratings([1]))


def test_raters_differ_where_edges_are_faint_and_leave_the_empty_empty() -> None:
    y, x = np.mgrid[:64, :64]
    inside = (np.hypot(x - 32, y - 32) < 16).astype(np.uint8)
    sharp, flat = inside.astype(np.float32), np.full((64, 64), 0.5, np.float32)
    differ = [
        float(rate(inside[None], image, 8, 1).astype(float).std(0).sum())
        for image in (sharp, flat)
    ]
    assert differ[0] < differ[1]
    assert not rate(np.zeros((1, 64, 64), np.uint8), flat, 4, 1).any()
    assert rate(np.full((1, 64, 64), ABSENT, np.uint8), flat, 4, 1) is None


def test_discs_have_the_known_chance_of_every_pixel_and_of_every_pair() -> None:
    data, _ = open_phantom(parse_uri(URI.replace("raters=5", "raters=16")))
    assert isinstance(PhantomOptions().ambiguous, bool)
    rows = np.arange(len(data))
    levels = np.random.default_rng(0).uniform(size=(len(rows), 400))
    drawn = data.outlined(rows, levels).double()
    np.testing.assert_allclose(drawn.mean(1), data.probability(rows), atol=0.13)
    area = drawn.sum((-2, -1)).numpy()
    pairs = 1 - np.minimum(area[:, ::2], area[:, 1::2]) / np.maximum(area[:, ::2], area[:, 1::2])
    assert pairs.mean() == pytest.approx(data.spread(rows).mean(), abs=0.01)
    assert (data.best_fixed(rows) < data.spread(rows)).all()


def test_discs_are_the_same_alone_and_among_others() -> None:
    alone = open_dataset(URI + "&hospital=north")
    among = open_dataset(URI + "&hospital=south,north")
    rows = np.flatnonzero(among.table.hospital == "north")
    assert torch.equal(among.ratings(rows), alone.ratings(np.arange(len(alone))))
    assert torch.equal(among.images(rows), alone.images(np.arange(len(alone))))
    assert alone.n_raters == 5 and alone.mask_names == ("disc",) and alone.simulated_raters
    images = alone.images(np.arange(len(alone)))
    assert images.min() >= 0 and images.max() <= 1 and set(alone.table.split) == {"train", "val"}
