"""Label maps in: they stay on their image, are one patient's, and are counted."""

import json
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from infomri_core.data import open_dataset
from infomri_core.data.importing.formats.pixels import fit, fit_labels
from infomri_core.system.errors import InputError
from tests.support.hospital_files import blob
from tests.support.importing import bring

LPS = np.diag([-1.0, -1.0, 3.0, 1.0])
# A body in two grey values, right to left (x), front to back (y), feet to head (z).
SPOT = blob(20, 16).T
LEVELS = 240 + 20 * np.arange(5)
INSIDE = SPOT[..., None] > LEVELS
BODY = np.where(INSIDE, 1000.0, 100.0).astype(np.float32)


def save(path: Path, array: np.ndarray, affine: np.ndarray = LPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def stored(array: np.ndarray, order: tuple[int, ...], flips: tuple[int, ...]) -> Any:
    """The array as a scanner may store it, and the affine that says how."""
    affine = np.eye(4)
    affine[:3, :3] = (LPS[:3, :3] @ np.diag(flips))[:, order]
    return array[:: flips[0], :: flips[1], :: flips[2]].transpose(order), affine


def report(out: Path) -> dict[str, Any]:
    return json.loads(out.with_name(f"{out.stem}.report.json").read_text())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_a_mask_that_is_a_threshold_of_its_image_stays_one(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[int, ...], plane: str
) -> None:
    array, affine = stored(BODY, order, flips)
    save(tmp_path / "in" / "a.nii.gz", array, affine)
    save(tmp_path / "in" / "a_gt.nii.gz", (array > 500).astype(np.uint8), affine)
    options = ("--plane", plane, "--masks", "*_gt")
    found = bring("nifti", tmp_path / "in", tmp_path / "s.h5", *options)
    assert found["mask"].any() and "rater_present" not in found
    np.testing.assert_array_equal(found["mask"] > 0, found["image"] > 40000)


def test_resampled_masks_keep_to_their_resampled_images() -> None:
    image = np.zeros((40, 24), np.float32)
    image[9:31, 5:18] = 1
    labels = (2 * image).astype(np.uint8)[None]
    for size, spacing in (((32, 32), (1.0, 1.0)), ((20, 48), (2.0, 0.7)), ((80, 80), (0.5, 1.0))):
        fitted = fit_labels(labels, size, spacing)[0]
        assert set(np.unique(fitted)) == {0, 2}
        np.testing.assert_array_equal(fitted == 2, fit(image, size, spacing) > 0.5)


def test_raters_and_absent_and_empty_masks_are_told_apart(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    for name in ("p1", "p2", "p3"):
        save(folder / f"{name}.nii.gz", BODY)
    drawn = INSIDE.astype(np.uint8)
    save(tmp_path / "A" / "p1.nii.gz", drawn)
    save(tmp_path / "A" / "p2_corrected.nii", 0 * drawn)
    save(tmp_path / "B" / "p1.nii.gz", 2 * drawn)
    save(tmp_path / "B" / "elsewhere.nii.gz", drawn)
    raters = ("--masks", tmp_path / "A", "--masks", tmp_path / "B")
    found = bring("nifti", folder, out, *raters, "--outline", "core", "--outline", "edge")
    assert found["masks"].shape == (15, 2, 16, 20) or found["masks"].shape == (15, 2, 20, 16)
    seen = found["rater_present"].reshape(3, 5, 2)
    assert sorted(seen[:, 0].tolist()) == [[0, 0], [1, 0], [1, 1]] and (seen == seen[:, :1]).all()
    told = report(out)
    assert told["outlines"] == {
        "raters": 2,
        "slices": {"core": 5, "edge": 5},
        "empty": 5,
        "missing": 5,
    }
    assert "masks that belong to no image that was taken: 1" in told["warnings"]
    data = open_dataset(f"slices:{out}")
    assert data.mask_names == ("core", "edge") and data.n_raters == 2
    assert data.table.outlined.sum() == 10
    assert "kept without a target" in out.with_name("s.report.txt").read_text()


def test_masks_within_the_folder_of_images_are_no_images(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("p1", "p2"):
        save(folder / "images" / f"{name}_0000.nii.gz", BODY)
        save(folder / "labels" / f"{name}.nii.gz", INSIDE.astype(np.uint8))
    rule = ("--patient", r"([^/_]+)[^/]*$")
    for places in ("labels", "../labels/*"):
        found = bring("nifti", folder, tmp_path / "s.h5", *rule, "--masks", places, "--force")
        assert len(found["image"]) == 10 and len(set(found["patient"])) == 2
        np.testing.assert_array_equal(found["mask"] > 0, found["image"] > 40000)


def test_masks_of_several_contrasts_go_to_each(tmp_path: Path) -> None:
    for part in ("flair", "t1"):
        save(tmp_path / "in" / "p1" / f"p1_{part}.nii.gz", BODY)
    save(tmp_path / "in" / "p1" / "p1_seg.nii.gz", INSIDE.astype(np.uint8))
    found = bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--masks", "*_seg")
    assert len(found["mask"]) == 10 and found["mask"].reshape(10, -1).any(1).all()


def refused(tmp_path: Path, mask: np.ndarray, *options: object, affine: np.ndarray = LPS) -> str:
    save(tmp_path / "in" / "p1.nii.gz", BODY)
    save(tmp_path / "in" / "p1_gt.nii.gz", mask, affine)
    with pytest.raises(InputError) as caught:
        bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--masks", "*_gt", *options)
    assert not (tmp_path / "s.h5").exists()
    return str(caught.value)


def test_what_no_label_map_of_the_image_can_be_is_refused(tmp_path: Path) -> None:
    drawn = INSIDE.astype(np.float32)
    told = refused(tmp_path, drawn[:, :-1])
    assert "(16, 20, 5) voxels" in told and "resampling" in told
    shifted = LPS.copy()
    shifted[0, 3] = 0.5
    assert "0.5 voxels away" in refused(tmp_path, drawn, affine=shifted)
    assert "whole numbers 0 .. 255, got 0.5" in refused(tmp_path, drawn / 2)
    assert "got nan" in refused(tmp_path, np.where(INSIDE, np.nan, 0).astype(np.float32))
    two = ("--outline", "a", "--outline", "b")
    assert "whole numbers 0 .. 2, got 3" in refused(tmp_path, 3 * drawn, *two)
    assert "three axes" in refused(tmp_path, np.stack([drawn, drawn], -1))
    (tmp_path / "in" / "p1_gt.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError, match="NIfTI label map"):
        bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--masks", "*_gt")
    with pytest.raises(InputError, match="none that fits an image"):
        bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--masks", "*_nothing")
    with pytest.raises(InputError, match="a folder, or a pattern"):
        bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--masks", "nowhere")
    with pytest.raises(InputError, match="no --masks"):
        bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--outline", "a")


def test_one_mask_for_two_patients_and_two_masks_for_one_image_are_refused(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        save(tmp_path / "in" / name / "t2.nii.gz", BODY)
    save(tmp_path / "flat" / "t2.nii.gz", INSIDE.astype(np.uint8))
    with pytest.raises(InputError, match="a mask of one patient"):
        bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--masks", tmp_path / "flat")
    for end in ("a", "b"):
        save(tmp_path / "two" / "p1" / f"t2_{end}.nii.gz", INSIDE.astype(np.uint8))
    with pytest.raises(InputError, match="one mask a rater"):
        bring("nifti", tmp_path / "in", tmp_path / "s.h5", "--masks", tmp_path / "two")


def test_a_mask_of_one_folder_is_not_taken_for_another(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        save(tmp_path / "in" / name / "t2.nii.gz", BODY)
    save(tmp_path / "masks" / "p1" / "t2.nii.gz", INSIDE.astype(np.uint8))
    out = tmp_path / "s.h5"
    found = bring("nifti", tmp_path / "in", out, "--masks", tmp_path / "masks")
    assert found["rater_present"].sum() == 5 and report(out)["outlines"]["missing"] == 5


def test_a_changed_mask_is_read_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    save(folder / "p1.nii.gz", BODY)
    for drawn in (INSIDE, ~INSIDE):
        save(folder / "p1_gt.nii.gz", drawn.astype(np.uint8))
        found = bring("nifti", folder, out, "--masks", "*_gt", "--force")
        np.testing.assert_array_equal(
            found["mask"] > 0, (found["image"] > 40000) == (drawn is INSIDE)
        )


def test_values_without_names_are_stored_and_said(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "s.h5"
    for name in ("p1", "p2"):
        save(folder / f"{name}.nii.gz", BODY)
        save(folder / f"{name}_gt.nii.gz", INSIDE + np.ones(BODY.shape, np.uint8))
    bring("nifti", folder, out, "--masks", "*_gt")
    warnings = report(out)["warnings"]
    assert any("2 values that --outline does not name" in w for w in warnings), warnings
    with h5py.File(out) as file:
        assert "names" not in file["mask"].attrs
    assert open_dataset(f"slices:{out}?outlines=body,core").mask_names == ("body", "core")
