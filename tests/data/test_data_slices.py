"""Slice archives: what is read, how it is normalised, what is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from infomri_core.data import open_dataset
from infomri_core.system.errors import InputError

N, H, W = 24, 12, 10


def write_archive(path: Path, drop: str = "", **columns: Any) -> Path:
    """Six patients, interleaved, in two hospitals, of different brightness."""
    rng = np.random.default_rng(3)
    number = np.arange(N) % 6
    content: dict[str, Any] = {
        "image": (rng.gamma(2.0, 20.0, (N, H, W)) * (1 + number)[:, None, None]).astype(np.uint16),
        "label": (np.arange(N) % 2).astype(np.uint8),
        "patient": [f"p{i}" for i in number],
        "hospital": [("north", "south")[i % 2] for i in number],
        "split": [("val" if i >= 4 else "train") for i in number],
        "relative_position": np.linspace(0.0, 1.0, N),
    }
    content.update(columns)
    content.pop(drop, None)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "knees.h5")


def test_images_are_normalised_by_their_patients_percentile(archive: Path) -> None:
    data = open_dataset(f"slices:{archive}")
    with h5py.File(archive) as file:
        raw, patient = file["image"][:], file["patient"].asstr()[:]
    indices = [7, 3, 3, 20, 0]
    for image, row in zip(data.images(indices), indices):
        scale = np.percentile(raw[patient == patient[row]], 99.9)
        expected = np.clip(raw[row] / scale, 0.0, 1.0)
        np.testing.assert_allclose(image.numpy(), expected, rtol=1e-6)


def test_images_of_a_selection_are_those_of_the_whole(archive: Path) -> None:
    whole, part = (open_dataset(f"slices:{archive}{o}") for o in ("", "?hospital=south&split=val"))
    keep = (whole.table.hospital == "south") & (whole.table.split == "val")
    assert torch.equal(part.images(range(len(part))), whole.images(np.flatnonzero(keep)))
    assert part.table.position.tolist() == whole.table.position[keep].tolist()
    assert part.table.labels.tolist() == whole.table.labels[keep].tolist()


def test_one_slice_is_read_without_the_others(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_dataset(f"slices:{archive}")
    read: list[int] = []
    original = h5py.Dataset.__getitem__

    def counting(self: h5py.Dataset, key: Any, **kwargs: Any) -> Any:
        value = original(self, key, **kwargs)
        read.append(np.asarray(value).size)
        return value

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    data.images([5, 17])
    assert read == [H * W, H * W]


def test_without_stored_columns_patients_are_split_and_dealt(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.h5", drop="split", hospital=["x"] * N)
    data = open_dataset(f"slices:{path}?hospitals=2")
    for column in (data.table.split, data.table.hospital):
        pairs = set(zip(data.table.patients.tolist(), column.tolist()))
        assert len(pairs) == 6
    assert set(data.table.split.tolist()) == {"train", "val"}


def test_a_stored_split_without_validation_is_split_by_patient(tmp_path: Path) -> None:
    stored = ["test" if i % 6 == 0 else "train" for i in range(N)]
    table = open_dataset(f"slices:{write_archive(tmp_path / 'a.h5', split=stored)}").table
    assert set(table.patients[table.split == "test"].tolist()) == {"p0"}
    assert set(table.split.tolist()) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("label", "options", "names", "exclusive"),
    [
        (np.arange(N) % 2, "", ("positive",), False),
        (np.arange(N) % 2, "?names=tumour", ("tumour",), False),
        (np.arange(N) % 2, "?names=no,yes", ("no", "yes"), True),
        (np.arange(N) % 2, "?exclusive=yes", ("class0", "class1"), True),
        (np.arange(N) % 3, "", ("class0", "class1", "class2"), True),
        (np.eye(4, dtype=bool)[np.arange(N) % 4], "?names=a,b,c,d", ("a", "b", "c", "d"), False),
        ([["flu", "cold"][i % 2] for i in range(N)], "", ("cold", "flu"), True),
    ],
)
def test_labels_of_each_form_are_read(
    tmp_path: Path, label: Any, options: str, names: tuple[str, ...], exclusive: bool
) -> None:
    path = write_archive(tmp_path / "a.h5", label=label)
    table = open_dataset(f"slices:{path}{options}").table
    assert (table.label_names, table.exclusive) == (names, exclusive)
    assert table.labels.shape == (N, len(names)) and table.labels.dtype == np.uint8
    if exclusive:
        assert (table.labels.sum(axis=1) == 1).all()


NAN_IMAGE = np.ones((N, H, W), dtype=np.float32)
NAN_IMAGE[7, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"drop": "image"}, "", "a data set 'image', got none"),
        ({"drop": "patient"}, "", "a data set 'patient', got none"),
        ({"drop": "label"}, "", "a data set 'label', got none"),
        ({"image": np.ones((N, 9))}, "", r"shape \(n, H, W\)"),
        ({"image": NAN_IMAGE}, "", "patient 'p1' slice 1: expected finite values"),
        ({"image": np.zeros((N, H, W))}, "", "an image with signal"),
        ({"patient": ["a"] * 5}, "", "24 rows"),
        ({"patient": ["a"] * N, "split": ["train"] * N}, "", "at least two patients"),
        ({"split": ["train", "val"] * (N // 2), "patient": ["a"] * N}, "", "in 2 splits"),
        ({"label": np.arange(N) - 1}, "", "class ids 0 to 22, got another number at slice 0"),
        (
            {"label": np.arange(N) % 5},
            "?names=a,b,c",
            "class ids 0 to 2, got another number at slice 3",
        ),
        ({"label": np.full((N, 2), 7)}, "", "expected 0 or 1, got another number at slice 0"),
        ({"label": np.linspace(0, 1, N)}, "", "whole numbers"),
        ({}, "?hospital=west", "the hospitals are north, south"),
        ({}, "?label=labels", "did you mean 'label'"),
    ],
)
def test_unusable_archives_are_refused(
    tmp_path: Path, columns: dict[str, Any], options: str, message: str
) -> None:
    path = write_archive(tmp_path / "a.h5", **columns)
    with pytest.raises(InputError, match=message):
        open_dataset(f"slices:{path}{options}")


def test_truncated_foreign_and_missing_files_are_refused(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(InputError, match="an HDF5 file, got an unreadable one"):
        open_dataset(f"slices:{archive}")
    archive.write_text("not HDF5")
    with pytest.raises(InputError, match="an HDF5 file, got an unreadable one"):
        open_dataset(f"slices:{archive}")
    archive.unlink()
    with pytest.raises(InputError, match="no such file"):
        open_dataset(f"slices:{archive}")
