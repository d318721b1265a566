"""Small valid files of every format that is read: what the fuzzer starts from."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import nibabel
import numpy as np
from PIL import Image
from pydicom.uid import RLELossless

from tests.support import hospital_files
from tests.support.hospital_files import Series, blob, multi_frame
from tests.support.raw_data import Raw, volume
from tests.support.vault_fakes import make_plan

Make = Callable[[Path], object]

_UID = "1.2.826.0.1.3680043.8.498"
_RNG = np.random.default_rng(0)
_KSPACE = (_RNG.normal(size=(2, 8, 8)) + 1j).astype(np.complex64)
_IMAGES = _RNG.integers(1, 99, (4, 8, 8)).astype(np.uint16)

SITE = """[site]
name = "north"
[superlink]
address = "centre.example.org:443"
root_certificate = "ca.crt"
[data]
uri = "slices:study.h5"
[vault]
state = "state"
threads = 1
[policy]
approvals = "listed"
min_cohort = 5
max_epsilon = 8.0
jobs = ["enrol", "train", "evaluate"]
[policy.must]
secure_aggregation = true
"""
CENTRE = """[audit]
data = "phantom:?seed=1"
cnn_steps = 9
[centre]
directory = "runs"
[mlflow]
tracking_uri = "sqlite:///a.db"
"""
PLANS = (
    make_plan().text,
    make_plan(
        privacy={"noise_multiplier": 1.0, "rate": 0.2, "lot": 2},
        moments={"noise_multiplier": 1.0, "clip": 1.0},
        evaluation={"attacks": ["lmmse", "unet"], "epsilon": 4.0, "position_band": [0.2, 0.8]},
    ).text,
)


def slices(chunked: bool) -> Make:
    """A slice archive, plain or in compressed chunks."""

    def make(path: Path) -> None:
        packed = {"compression": 1, "chunks": (1, 8, 8)} if chunked else {}
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=_IMAGES, **packed)
            file["patient"] = np.array(list("abcd"), dtype=h5py.string_dtype())
            file["label"] = np.array([[0, 1], [1, 0], [0, 0], [1, 1]], np.uint8)
            file["label"].attrs["names"] = ["tear", "oedema"]
            file["split"] = np.array(["train", "train", "val", "val"], dtype=h5py.string_dtype())
            file["position"] = np.linspace(0, 1, 4)

    return make


def fastmri(path: Path) -> None:
    """A volume of single-coil k-space, and another beside it."""
    for each in (path, path.with_name("other.h5")):
        with h5py.File(each, "w") as file:
            file["kspace"] = _KSPACE
            file.attrs["patient_id"] = each.stem
            file.attrs["acquisition"] = "CORPD_FBK"


def nifti(dtype: Any, shape: tuple[int, ...]) -> Make:
    """An image of one type and shape, packed if the path says so."""
    values = (np.arange(np.prod(shape)).reshape(shape) % 99).astype(dtype)
    return lambda path: nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1])), path)


def dicom(**tags: Any) -> Make:
    """One instance of a classic series."""

    def make(path: Path) -> None:
        with _same_uids():
            instance = _series(tags).instance(0, (0.0, 0.0, 0.0))
        instance.save_as(path, enforce_file_format=True)

    return make


def enhanced(path: Path) -> None:
    """A multi-frame instance."""
    with _same_uids():
        multi_frame(path, "p1", np.stack([blob(8, 8, n) for n in range(2)]), (1.0, 2.0))


def packed(path: Path) -> None:
    """An instance whose pixels are run-length encoded."""
    with _same_uids():
        instance = _series({}).instance(0, (0.0, 0.0, 0.0))
    instance.compress(RLELossless, generate_instance_uid=False)
    instance.save_as(path, enforce_file_format=True)


def _series(tags: dict[str, Any]) -> Series:
    uids = {"series_uid": f"{_UID}.1", "study_uid": f"{_UID}.2"}
    return Series("p1", n=1, shape=(8, 8), tags=tags, **uids)


def _same_uids() -> Any:
    """The same file at every run."""
    return mock.patch.object(hospital_files, "generate_uid", lambda: f"{_UID}.3")


def raw(three_d: bool) -> Make:
    """Cartesian raw data of one patient."""

    def make(path: Path) -> None:
        made = Raw(path, volume(2 if three_d else 1, 8, 8)).measured(three_d=three_d)
        made.write(three_d=three_d)

    return make


def picture(mode: str, kind: str, pages: int = 1) -> Make:
    """A picture of one mode and format."""
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)

    def make(path: Path) -> None:
        image = Image.fromarray(values).convert(mode)
        more = {"save_all": True, "append_images": [image] * (pages - 1)} if pages > 1 else {}
        image.save(path, kind, **more)

    return make


def array(path: Path) -> None:
    """A NumPy file of images."""
    stream = io.BytesIO()
    np.save(stream, _IMAGES.astype(np.float32))
    path.write_bytes(stream.getvalue())


def mnist(path: Path) -> None:
    """An archive of MNIST's arrays."""
    labels = np.arange(10, dtype=np.uint8)
    images = _RNG.integers(0, 256, (10, 28, 28)).astype(np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:5], y_test=labels[:5])


def text(content: str) -> Make:
    """A text file."""
    return lambda path: path.write_text(content, encoding="utf-8")
