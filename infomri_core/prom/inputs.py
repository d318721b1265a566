"""The images a mask is found for: one file, or the training patients of a data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from infomri_core.data import open_dataset
from infomri_core.data.hdf5.limits import check_bytes, limit_bytes
from infomri_core.inference.scans import open_scan
from infomri_core.randomness.seeds import numpy_generator
from infomri_core.system.errors import InputError

_BYTES_A_POINT = 12
"""float32 images and complex64 k-space, both in memory."""


@final
@dataclass(frozen=True, eq=False)
class MaskImages:
    """Images (n, H, W) to fit on, and those of other patients to score on, with whose slice each
    is (``patients``); of a single file both are the same, and ``held_out`` is False."""

    fitted: torch.Tensor
    scored: torch.Tensor
    patients: np.ndarray
    held_out: bool


def open_images(text: str, limit: int, seed: int) -> MaskImages:
    """Images of a data URI (train split to fit, val split to score, at most ``limit`` slices of
    each, drawn by ``seed``) or of a .npy or .png file. Raises ``InputError``."""
    path = Path(text)
    if path.exists() or ":" not in text:
        images = _from_file(path)
        return MaskImages(images, images, np.zeros(len(images), np.int64), False)
    dataset = open_dataset(text)
    chosen, patients = {}, dataset.table.patients
    for split in ("train", "val"):
        rows = np.flatnonzero(dataset.table.split == split)
        if not len(rows):
            got = f"no slice of the split '{split}'"
            raise InputError(text, "patients to fit on and others to score on", got, "add some")
        if len(rows) > limit:
            generator = numpy_generator(seed, "prom-slices", split)
            rows = np.sort(generator.choice(rows, limit, replace=False))
        check_bytes(text, len(rows) * int(np.prod(dataset.shape)) * _BYTES_A_POINT, limit_bytes())
        chosen[split] = dataset.images(rows)
        patients = dataset.table.patients[rows]
    return MaskImages(chosen["train"], chosen["val"], patients, True)


def _from_file(path: Path) -> torch.Tensor:
    shape = _shape(path)
    if path.suffix.lower() == ".npy" and np.load(path, mmap_mode="r").dtype.kind == "c":
        remedy = "ProM's loss is of magnitude images: give those"
        raise InputError(str(path), "real images", "complex values", remedy)
    scan = open_scan(str(path), shape)
    return torch.cat(list(scan.batches()))


def _shape(path: Path) -> tuple[int, int]:
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path) as picture:
                return picture.height, picture.width
        if path.suffix.lower() == ".npy":
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return int(shape[-2]), int(shape[-1])
    except FileNotFoundError:
        raise InputError(str(path), "a file", "no such file", "check the path") from None
    except (OSError, ValueError, EOFError, IndexError, UnidentifiedImageError):
        remedy = "give (H, W) or (n, H, W)"
        raise InputError(str(path), "images", "a file that holds none", remedy) from None
    expected = "a .npy or .png file, or a data URI"
    raise InputError(str(path), expected, f"'{path.suffix}'", "convert it to .npy")
