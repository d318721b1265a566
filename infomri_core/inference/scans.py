"""Scans to diagnose: image and k-space files, or the slices of a data set, scaled as in training.

An image file, one slice or a volume, is divided by its own 99.9th percentile and clipped to [0, 1]
(`infomri_core.data.normalise`). k-space is divided by that percentile of its magnitude image. The
data sets behind a URI are normalised already.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from infomri_core.data import SliceDataset, open_dataset
from infomri_core.data.arrays import open_npy
from infomri_core.data.hdf5.guarded import Hdf5File, damage_refused, open_hdf5
from infomri_core.data.hdf5.limits import check_bytes, limit_bytes
from infomri_core.data.measured import check_complete, check_mask
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.inference.origin import Origin, is_volume, read_volume
from infomri_core.physics.kspace import ifft2c, reflect
from infomri_core.system.errors import InputError

BATCH = 64
FORMATS = "a .npy, .png, .h5, .nii or DICOM file, a DICOM folder, or a URI such as phantom:?seed=1"
HDF5_NAMES = ("image", "kspace")
PHASE_LIMIT = 0.05


@dataclass(frozen=True)
class Scan:
    """One input: n slices of shape (H, W). ``note`` says how they were prepared.

    ``source`` holds images (n, H, W), centred k-space (n, H, W) where ``is_kspace``, or a data
    set; ``scale`` is what files are divided by. ``origin`` is where a NIfTI or DICOM volume lay.
    """

    name: str
    source: np.ndarray | SliceDataset
    scale: float
    note: str
    is_kspace: bool = False
    origin: Origin | None = None

    def batches(self) -> Iterator[torch.Tensor]:
        """Slices in order, at most ``BATCH`` at a time, complex64 or float32 in [0, 1]."""
        for start in range(0, len(self.source), BATCH):
            rows = np.arange(start, min(start + BATCH, len(self.source)))
            if isinstance(self.source, SliceDataset):
                yield self.source.images(rows)
            elif self.is_kspace:
                yield torch.from_numpy((self.source[rows] / self.scale).astype(np.complex64))
            else:
                yield torch.from_numpy(normalise(self.source[rows], self.scale))


def open_scan(
    text: str, shape: tuple[int, int], magnitude: bool = False, kspace: bool = False
) -> Scan:
    """Open an input: a .npy, .png or .h5 file, a NIfTI or DICOM volume (turned as imports turn
    it), or a data URI, whose slices have ``shape``.

    A .h5 file holds 'image' as slice archives do, or 'kspace' as fastMRI's files do, of which the
    centre of ``shape`` is taken. Complex numbers are centred single-coil k-space; of a .npy file
    the caller has to say so, with ``kspace`` or ``magnitude``. With ``magnitude`` it is turned
    into its magnitude image first, which is then measured as training images were. ``InputError``
    for a missing or unreadable file, another shape, NaN, negative or all-zero values, and k-space
    that was measured in part only.
    """
    path = Path(text)
    if not path.exists() and ":" in text:
        return _from_dataset(text, shape)
    if path.exists() and is_volume(path):
        images, origin = read_volume(path)
        return replace(_from_images(text, images, shape), origin=origin)
    if not path.is_file():
        raise InputError(text, FORMATS, "no such file", "check the path")
    if path.suffix.lower() == ".png":
        return _from_images(text, _read_png(path, shape), shape)
    if path.suffix.lower() not in (".npy", ".h5"):
        raise InputError(text, FORMATS, f"'{path.suffix}'", "convert it to .npy")
    read = _read_npy(path) if path.suffix.lower() == ".npy" else _read_hdf5(path, shape)
    array = _as_volume(text, read, shape)
    if not np.iscomplexobj(array):
        return _from_images(text, array, shape)
    if path.suffix.lower() == ".npy" and not (kspace or magnitude):
        remedy = "say --kspace where it is, --magnitude for its magnitude image, or give |image|"
        raise InputError(text, "real images, or k-space that is named so", "complex", remedy)
    return _from_kspace(text, array, shape, magnitude)


def phase_share(kspace: torch.Tensor) -> float:
    """The share of energy of k-space (..., H, W) that a real image could not have, 0 .. 1."""
    odd = (kspace - reflect(kspace).conj()) / 2
    return float((odd.abs() ** 2).sum() / (kspace.abs() ** 2).sum().clamp(min=1e-30))


def _from_dataset(uri: str, shape: tuple[int, int]) -> Scan:
    dataset = open_dataset(uri)
    _check_shape(uri, tuple(dataset.shape), shape)
    return Scan(uri, dataset, 1.0, f"{len(dataset)} slices, normalised by the data set")


def _from_images(name: str, images: np.ndarray, shape: tuple[int, int]) -> Scan:
    _check_shape(name, images.shape[-2:], shape)
    if not np.isfinite(images).all():
        raise InputError(name, "finite values", "NaN or inf", "export it again")
    if any((image < 0).any() for image in images):
        remedy = "give the magnitude image, or complex k-space"
        raise InputError(name, "a magnitude image", "negative values", remedy)
    scale = volume_scale(images, len(images), name)
    note = f"{_count(images)} divided by the 99.9th percentile ({scale:.4g}), clipped to [0, 1]"
    return Scan(name, images, scale, note)


def _from_kspace(name: str, kspace: np.ndarray, shape: tuple[int, int], magnitude: bool) -> Scan:
    _check_shape(name, kspace.shape[-2:], shape)
    check_bytes(name, 2 * kspace.nbytes, limit_bytes())
    for number, plane in enumerate(kspace):
        check_complete(np.asarray(plane), f"{name} slice {number}")
    images = _magnitude(kspace)
    scale = volume_scale(images, len(images), name)
    if magnitude:
        note = f"{_count(images)}: magnitude of k-space, divided by {scale:.4g}, clipped to [0, 1]"
        return Scan(name, images, scale, note)
    note = f"{_count(images)} of k-space divided by {scale:.4g}; no noise added"
    share = max(phase_share(torch.from_numpy(np.array(k))) for k in kspace)
    if share > PHASE_LIMIT:
        note += (
            f"; {share:.0%} of its energy is phase, which the model never saw in training: "
            "--magnitude removes it"
        )
    return Scan(name, kspace, scale, note, is_kspace=True)


def _magnitude(kspace: np.ndarray) -> np.ndarray:
    return np.stack([ifft2c(torch.from_numpy(np.array(k))).abs().float().numpy() for k in kspace])


def _read_npy(path: Path) -> np.ndarray:
    array = open_npy(path, "a NumPy array of numbers")
    if array.dtype.kind not in "uifc":
        got = f"dtype {array.dtype}"
        raise InputError(str(path), "float images or complex k-space", got, "convert it")
    return array


def _read_hdf5(path: Path, shape: tuple[int, int]) -> np.ndarray:
    with open_hdf5(path) as file:
        there = file.names()
        name = next((n for n in HDF5_NAMES if n in there), None)
        if name is None:
            expected = f"a dataset {' or '.join(HDF5_NAMES)}"
            raise InputError(str(path), expected, str(there)[:80], "export it as .npy")
        return _read_array(file, name, shape)


def _read_array(file: Hdf5File, name: str, shape: tuple[int, int]) -> np.ndarray:
    dataset, where = file.dataset(name), f"{file.path} {name}"
    if dataset.dtype.kind not in "uifc" or dataset.ndim not in (2, 3):
        got = f"dtype {dataset.dtype}, shape {dataset.shape}"
        raise InputError(where, "one coil's slices of numbers", got, "convert it")
    if name == "image" or min(np.subtract(dataset.shape[-2:], shape)) < 0:
        _check_shape(where, dataset.shape[-2:], shape)
        return file.array(name)
    check_mask(file)
    n_slices = dataset.shape[0] if dataset.ndim == 3 else 1
    n_bytes = dataset.dtype.itemsize * shape[0] * shape[1] * n_slices
    # Zero frequency is at n // 2 before and after the cut.
    top, left = (n // 2 - m // 2 for n, m in zip(dataset.shape[-2:], shape))
    check_bytes(where, n_bytes, file.limit)
    with damage_refused(where):
        return np.asarray(dataset[..., top : top + shape[0], left : left + shape[1]])


def _as_volume(name: str, array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if array.ndim not in (2, 3) or 0 in array.shape:
        h, w = shape
        expected = f"an array ({h}, {w}) or (n, {h}, {w})"
        raise InputError(name, expected, str(array.shape), "reshape it")
    return array if array.ndim == 3 else array[None]


def _read_png(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A greyscale PNG (1, H, W); its size is checked before it is decoded."""
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"]) as image:
            if getattr(image, "n_frames", 1) > 1:
                got = "several frames in one file"
                raise InputError(str(path), "a PNG of one picture", got, "save each as a file")
            _check_shape(str(path), (image.height, image.width), shape)
            pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
            mode = image.mode
    except InputError:
        raise
    except Exception as error:
        # Damaged pictures fail inside Pillow with any type of error, bombs with one of its own.
        got = f"unreadable data ({type(error).__name__})"
        raise InputError(str(path), "a PNG image", got, "export it again") from None
    if mode == "LA":
        pixels = pixels[..., :1]
    if pixels.ndim == 3:
        colours = pixels[..., :3]
        if (colours != colours[..., :1]).any():
            raise InputError(str(path), "a greyscale PNG", "colours", "convert it to greyscale")
        pixels = colours[..., 0]
    return pixels[None].astype(np.float32)


def _check_shape(name: str, got: tuple[int, ...], shape: tuple[int, int]) -> None:
    if tuple(got) != tuple(shape):
        expected = f"slices of shape {tuple(shape)}, as the model was trained on"
        raise InputError(name, expected, str(tuple(got)), "crop or resample it")


def _count(images: np.ndarray) -> str:
    return "1 slice" if len(images) == 1 else f"{len(images)} slices"
