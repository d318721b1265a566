"""QUBIQ's folders: cases, raters who were absent, contrasts, splits, and what is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from infomri_core.data import open_dataset
from infomri_core.data.base import ABSENT
from infomri_core.system.errors import InputError


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(picture, np.eye(4)), path)


def write_case(folder: Path, picture: np.ndarray, outlines: dict[str, np.ndarray]) -> None:
    save(folder / "image.nii.gz", picture)
    for name, outline in outlines.items():
        save(folder / f"{name}.nii.gz", outline)


@pytest.fixture
def prostate(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    for number in range(1, 7):
        part = "Validation" if number == 6 else "Training"
        # As nibabel has them: columns before rows; some cases are wider than high.
        shape = (48, 32) if number % 2 else (32, 32)
        outlines = {}
        for rater in range(1, 4):
            drawn = np.zeros(shape, np.uint8)
            middle = shape[0] // 2
            drawn[middle - 4 : middle + 4, 10 : 10 + 4 * rater] = 1
            outlines[f"task01_seg0{rater}"] = drawn
            outlines[f"task02_seg0{rater}"] = 1 - drawn
        if number == 2:
            del outlines["task01_seg03"]
        picture = rng.gamma(2.0, 20.0, shape).astype(np.float32)
        write_case(tmp_path / part / f"case0{number}", picture, outlines)
    return tmp_path


def test_a_case_is_a_row_with_its_raters(prostate: Path) -> None:
    data = open_dataset(f"qubiq:{prostate}?size=16")
    assert data.shape == (16, 16) and data.n_raters == 3 and data.mask_names == ("mask",)
    assert data.table.patients.tolist() == [f"case0{n}" for n in range(1, 7)]
    assert data.table.split.tolist() == ["train"] * 5 + ["val"]
    ratings = data.ratings(range(6))
    assert (ratings[1, 2] == ABSENT).all() and ratings[[0, 2, 3, 4, 5]].max() == 1
    # Eight by four to twelve pixels, of which two by two become one.
    inside = [int(ratings[0, rater].sum()) for rater in range(3)]
    assert inside == [4 * 2, 4 * 4, 4 * 6]
    assert int(data.masks([0]).sum()) == 4 * 4
    images = data.images(range(6))
    assert images.min() >= 0 and images.max() <= 1 and images.std(dim=(1, 2)).min() > 0


def test_rows_of_the_picture_are_the_second_axis_of_the_file(prostate: Path) -> None:
    data = open_dataset(f"qubiq:{prostate}?size=32")
    found = data.ratings([0])[0, 0, 0].nonzero()
    assert found[:, 0].tolist() == np.repeat(np.arange(10, 14), 8).tolist()
    assert set(found[:, 1].tolist()) == set(range(12, 20))


def test_the_other_task_has_outlines_of_its_own(prostate: Path) -> None:
    one, two = (open_dataset(f"qubiq:{prostate}?size=32&task={task}") for task in (1, 2))
    assert torch.equal(one.ratings([0]), 1 - two.ratings([0]))


def test_one_of_several_contrasts_is_taken(tmp_path: Path) -> None:
    picture = np.stack([np.full((32, 32), v, np.float32) for v in (1, 2, 3, 4)], axis=-1)
    picture[:16] *= np.arange(1, 5)
    for number in range(4):
        outline = {"task01_seg01": np.ones((32, 32), np.uint8)}
        write_case(tmp_path / f"case{number}-1", picture, outline)
    first, last = (open_dataset(f"qubiq:{tmp_path}?size=16&channel={c}") for c in (0, 3))
    assert first.images([0]).unique().tolist() == [1.0]
    assert last.images([0]).unique().tolist() == [0.25, 1.0]
    assert sorted(set(first.table.patients)) == [f"case{n}" for n in range(4)]
    with pytest.raises(InputError, match="channel"):
        open_dataset(f"qubiq:{tmp_path}?size=16&channel=4")


@pytest.mark.parametrize(
    "options, words",
    [
        ("?size=64", "size"),
        ("?task=3", "task"),
        ("?size=8", "at least 16"),
        ("?sise=64", "size"),
    ],
)
def test_what_the_files_do_not_have_is_refused(prostate: Path, options: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_dataset(f"qubiq:{prostate}{options}")


def test_files_that_do_not_fit_are_refused(prostate: Path) -> None:
    case = prostate / "Training" / "case01"
    whole = (case / "task01_seg01.nii.gz").read_bytes()
    (case / "task01_seg01.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="a NIfTI image"):
        open_dataset(f"qubiq:{prostate}?size=16")
    save(case / "task01_seg01.nii.gz", np.ones((32, 32), np.uint8))
    with pytest.raises(InputError, match="the image's shape"):
        open_dataset(f"qubiq:{prostate}?size=16")
    save(case / "task01_seg01.nii.gz", np.ones((48, 32, 20), np.uint8))
    with pytest.raises(InputError, match="two-dimensional"):
        open_dataset(f"qubiq:{prostate}?size=16")
    with pytest.raises(InputError, match=r"image\.nii\.gz"):
        open_dataset(f"qubiq:{prostate / 'elsewhere'}")


def test_a_patient_in_two_splits_is_refused(prostate: Path) -> None:
    (prostate / "Training" / "case01").rename(prostate / "Validation" / "case02")
    with pytest.raises(InputError, match="one split only"):
        open_dataset(f"qubiq:{prostate}?size=16")
