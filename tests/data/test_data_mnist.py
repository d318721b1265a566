"""MNIST from npz and idx files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from infomri_core.data import open_dataset
from infomri_core.system.errors import InputError

RNG = np.random.default_rng(0)
PARTS = {
    "train_images": RNG.integers(0, 256, (40, 7, 6), dtype=np.uint8),
    "train_labels": (np.arange(40) % 10).astype(np.uint8),
    "test_images": RNG.integers(0, 256, (12, 7, 6), dtype=np.uint8),
    "test_labels": (np.arange(12) % 10).astype(np.uint8),
}
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "t10k-images.idx3-ubyte")
IDX += ("t10k-labels-idx1-ubyte",)


def write_idx(folder: Path) -> Path:
    for name, values in zip(IDX, PARTS.values()):
        data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        data += values.tobytes()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def test_npz_and_idx_give_the_same_digits(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **PARTS)
    (tmp_path / "idx").mkdir()
    first = open_dataset(f"mnist:{tmp_path / 'm.npz'}")
    second = open_dataset(f"mnist:{write_idx(tmp_path / 'idx')}")
    assert (first.images(range(52)) == second.images(range(52))).all()
    assert (first.table.labels == second.table.labels).all()
    assert (first.table.split == second.table.split).all()


def test_digits_are_exclusive_scaled_and_split_as_published(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **PARTS)
    data = open_dataset(f"mnist:{tmp_path / 'm.npz'}")
    assert data.shape == (7, 6) and data.table.exclusive
    assert data.table.labels.argmax(1)[:12].tolist() == PARTS["train_labels"][:12].tolist()
    assert (data.table.split == "val").sum() == 12
    np.testing.assert_allclose(
        data.images([41])[0].numpy(), PARTS["test_images"][1] / 255.0, rtol=1e-6
    )


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, **{**PARTS, "test_labels": np.full(12, 10)})
    with pytest.raises(InputError, match="digits 0 to 9, got 10"):
        open_dataset(f"mnist:{path}")
    np.savez(path, images=PARTS["train_images"])
    with pytest.raises(InputError, match="the arrays train_images"):
        open_dataset(f"mnist:{path}")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="an npz archive"):
        open_dataset(f"mnist:{path}")
    with pytest.raises(InputError, match="no such file"):
        open_dataset(f"mnist:{tmp_path / 'absent.npz'}")


def test_truncated_idx_files_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path)
    file = tmp_path / IDX[0]
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(InputError, match="the file is truncated"):
        open_dataset(f"mnist:{tmp_path}")
    file.unlink()
    with pytest.raises(InputError, match="the file train-images-idx3-ubyte"):
        open_dataset(f"mnist:{tmp_path}")
