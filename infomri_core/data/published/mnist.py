"""MNIST, from an npz archive or from the four idx files; every image is its own patient."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import torch

from infomri_core.data.base import SliceDataset, SliceTable
from infomri_core.data.hdf5.limits import check_bytes, gunzip, limit_bytes
from infomri_core.data.uri import DataUri, Selection, read_options
from infomri_core.system.errors import InputError

_NPZ_KEYS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)
_IDX_STEMS = (
    "train-images{}idx3-ubyte",
    "train-labels{}idx1-ubyte",
    "t10k-images{}idx3-ubyte",
    "t10k-labels{}idx1-ubyte",
)


@final
class MnistDataset(SliceDataset):
    """Digits in memory as bytes, scaled by 1/255 (the convention of the literature)."""

    def __init__(self, images: np.ndarray, table: SliceTable) -> None:
        self._images = images
        self.table = table
        self.shape = (images.shape[1], images.shape[2])

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        chosen = self._images[np.asarray(indices, dtype=np.int64)]
        return torch.from_numpy(chosen.astype(np.float32) / 255.0)


def open_mnist(uri: DataUri) -> tuple[SliceDataset, Selection]:
    """MNIST at an ``mnist:PATH`` URI: an .npz file, or a folder of idx files (.gz or not).

    The test part is the 'val' split. Labels are the ten digits, exclusive.
    """
    options = read_options(Selection, uri)
    path = Path(uri.path).expanduser()
    parts = _read_idx_folder(path) if path.is_dir() else _read_npz(path)
    train, train_labels, test, test_labels = parts
    _check_part(train, train_labels, f"{path} train")
    _check_part(test, test_labels, f"{path} test")
    if train.shape[1:] != test.shape[1:]:
        raise InputError(
            str(path), f"test images of shape {train.shape[1:]}", f"{test.shape[1:]}", "fix them"
        )
    return MnistDataset(np.concatenate([train, test]), _table(train_labels, test_labels)), options


def _table(train_labels: np.ndarray, test_labels: np.ndarray) -> SliceTable:
    n_train, n_test = len(train_labels), len(test_labels)
    labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
    names = [f"train-{i:05d}" for i in range(n_train)] + [f"test-{i:05d}" for i in range(n_test)]
    return SliceTable(
        patients=np.asarray(names),
        labels=np.eye(10, dtype=np.uint8)[labels],
        label_names=tuple(str(digit) for digit in range(10)),
        exclusive=True,
        split=np.repeat(["train", "val"], [n_train, n_test]),
        hospital=np.full(n_train + n_test, "H1"),
        position=np.full(n_train + n_test, np.nan),
    )


def _read_npz(path: Path) -> tuple[np.ndarray, ...]:
    try:
        with path.open("rb") as file, np.load(file) as archive:
            for keys in _NPZ_KEYS:
                if all(key in archive for key in keys):
                    n_bytes = sum(info.file_size for info in archive.zip.infolist())
                    check_bytes(str(path), n_bytes, limit_bytes())
                    arrays = tuple(np.asarray(archive[key]) for key in keys)
                    if all(array.dtype.kind in "ui" for array in arrays):
                        return arrays
            found = ", ".join(archive.files)
    except FileNotFoundError:
        raise InputError(
            str(path), "an MNIST file or folder", "no such file", "check the path"
        ) from None
    except InputError:
        raise
    except Exception as error:
        # A damaged archive fails inside NumPy and zipfile with any type of error.
        raise InputError(
            str(path), "an npz archive", f"unreadable data ({error})", "fetch the file again"
        ) from None
    raise InputError(
        str(path),
        f"the arrays {', '.join(_NPZ_KEYS[0])}, of whole numbers",
        found or "none",
        "rename or convert the arrays",
    )


def _read_idx_folder(folder: Path) -> tuple[np.ndarray, ...]:
    return tuple(_read_idx(_find_idx(folder, stem)) for stem in _IDX_STEMS)


def _find_idx(folder: Path, stem: str) -> Path:
    names = [stem.format(dot) + end for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        str(folder), f"the file {names[0]} (or .gz)", "no such file", "add it to the folder"
    )


def _read_idx(path: Path) -> np.ndarray:
    try:
        raw = path.read_bytes()
        data = gunzip(raw, limit_bytes()) if path.suffix == ".gz" else raw
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(
            str(path), "a readable idx file", str(error), "fetch the file again"
        ) from None
    n_dims = data[3] if len(data) > 3 else 0
    header = 4 + 4 * n_dims
    if len(data) < header or data[:3] != b"\x00\x00\x08" or n_dims not in (1, 3):
        raise InputError(
            str(path), "an idx file of bytes", f"header {data[:4].hex()}", "fetch the file again"
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", n_dims, 4))
    if len(data) - header != int(np.prod(shape)):
        raise InputError(
            str(path),
            f"{np.prod(shape)} bytes for shape {shape}",
            f"{len(data) - header}",
            "the file is truncated; fetch it again",
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _check_part(images: np.ndarray, labels: np.ndarray, where: str) -> None:
    if images.ndim != 3 or images.dtype != np.uint8:
        raise InputError(
            f"{where} images",
            "uint8 (n, H, W)",
            f"{images.dtype} {images.shape}",
            "fix the array",
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"{where} labels",
            f"{len(images)} integers",
            f"{labels.dtype} {labels.shape}",
            "fix the array",
        )
    wrong = labels[(labels < 0) | (labels > 9)]
    if wrong.size:
        raise InputError(f"{where} labels", "digits 0 to 9", f"{wrong[0]}", "fix the labels")
