"""QUBIQ: one two-dimensional slice a case, outlined by several raters, as NIfTI files.

A case is a folder with ``image.nii.gz`` and ``taskTT_segRR.nii.gz``, the outline that rater R drew
for task T (Menze et al., Quantification of Uncertainties in Biomedical Image Quantification,
challenges of 2020 and 2021). Not every rater outlined every case.
"""

import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from infomri_core.data.base import ABSENT, SliceDataset, SliceTable
from infomri_core.data.importing.bounds import nifti_refusal, unpack_nifti
from infomri_core.data.importing.formats.extra import need
from infomri_core.data.importing.formats.nifti_file import opened
from infomri_core.data.normalise import normalise, volume_scale
from infomri_core.data.outlines.majority import majority
from infomri_core.data.split import check_split, split_patients
from infomri_core.data.uri import DataUri, Selection, at_least, read_options
from infomri_core.system.errors import InputError

IMAGE = "image.nii.gz"
_OUTLINE = re.compile(r"task0*(\d+)_seg0*(\d+)\.nii\.gz", re.IGNORECASE)
_SPLITS = {"train": "train", "val": "val", "test": "test"}
_MOST_CHANNELS = 8
_LEAST = 16


@dataclass(frozen=True)
class QubiqOptions(Selection):
    """``task``: which structure was outlined. ``size``: pixels a side of the images that come of
    the files' centre squares. ``channel``: which contrast, of images that have several."""

    task: int = 1
    size: int = 128
    channel: int = 0

    def check(self, where: str) -> None:
        super().check(where)
        at_least(self.task, 1, where, "task")
        at_least(self.size, _LEAST, where, "size")
        at_least(self.channel, 0, where, "channel")


@final
class QubiqDataset(SliceDataset):
    """Cases in memory: ``images`` (n, size, size) in [0, 1], ``ratings`` (n, R, 1, size, size)."""

    def __init__(self, images: torch.Tensor, ratings: torch.Tensor, table: SliceTable) -> None:
        self._images, self._ratings, self.table = images, ratings, table
        self.shape = (int(images.shape[1]), int(images.shape[2]))
        self.n_raters, self.mask_names = int(ratings.shape[1]), ("mask",)

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._images[np.asarray(indices, dtype=np.int64)]

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return majority(self.ratings(indices))

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._ratings[np.asarray(indices, dtype=np.int64)]


def open_qubiq(uri: DataUri) -> tuple[SliceDataset, Selection]:
    """The cases below a ``qubiq:FOLDER`` URI: the folder of one of the challenge's data sets. A
    folder whose name begins with train, val or test says the split."""
    options = read_options(QubiqOptions, uri)
    options.check(uri.text)
    root = Path(uri.path).expanduser()
    cases = sorted(path.parent for path in root.rglob(IMAGE))
    if not cases:
        remedy = "give the folder of one data set, such as qubiq:QUBIQ/prostate"
        raise InputError(uri.text, f"folders with {IMAGE}", "none", remedy)
    found = [_outlines(case, options.task) for case in cases]
    n_raters = max((max(raters, default=0) for raters in found), default=0)
    if n_raters == 0:
        raise InputError(
            f"{uri.text} task", "a task that was outlined", f"{options.task}", "see the files"
        )
    shape = (options.size, options.size)
    images = torch.zeros(len(cases), *shape)
    ratings = torch.full((len(cases), n_raters, 1, *shape), ABSENT, dtype=torch.uint8)
    for row, (case, raters) in enumerate(zip(cases, found)):
        raw = _plane(case / IMAGE, options.channel)
        scale = volume_scale([raw], 1, str(case / IMAGE))
        images[row] = _resized(normalise(raw, scale), options.size, case / IMAGE)
        for rater, path in raters.items():
            drawn = _plane(path, 0)
            if drawn.shape != raw.shape:
                got, remedy = f"{drawn.shape}", "take outlines of this very image"
                raise InputError(str(path), f"the image's shape {raw.shape}", got, remedy)
            ratings[row, rater - 1, 0] = _resized(drawn > 0, options.size, path) >= 0.5
    return QubiqDataset(images, ratings, _table(root, cases, found)), options


def _outlines(case: Path, task: int) -> dict[int, Path]:
    """The files of a task by rater, from 1."""
    matches = ((_OUTLINE.fullmatch(path.name), path) for path in sorted(case.iterdir()))
    return {int(m[2]): path for m, path in matches if m and int(m[1]) == task and int(m[2]) > 0}


def _table(root: Path, cases: Sequence[Path], found: Sequence[dict[int, Path]]) -> SliceTable:
    # 'case13-1' and 'case13-2' are scans of one patient.
    patients = np.asarray([case.name.partition("-")[0] for case in cases])
    split = np.asarray([_split(case.relative_to(root).parts[:-1]) for case in cases])
    if (split == "").all():
        split = np.full(len(cases), "train")
    split = np.where(split == "", "train", split)
    check_split(patients, split, str(root))
    if "val" not in split:
        split = np.where(split == "train", split_patients(patients), split)
    n = len(cases)
    return SliceTable(
        patients=patients,
        labels=np.zeros((n, 0), np.uint8),
        label_names=(),
        exclusive=False,
        split=split,
        hospital=np.full(n, "H1"),
        position=np.full(n, np.nan),
        outlined=np.asarray([bool(raters) for raters in found]),
    )


def _split(folders: Sequence[str]) -> str:
    for folder in folders:
        for word, split in _SPLITS.items():
            if folder.lower().startswith(word):
                return split
    return ""


def _plane(path: Path, channel: int) -> np.ndarray:
    """The picture (H, W) float32 in a file; of several contrasts the one asked for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = _values(path)
    except InputError:
        raise
    except Exception as error:
        # nibabel raises errors of many types, its own and others', on what it cannot read.
        got = f"unreadable data ({type(error).__name__})"
        raise InputError(str(path), "a NIfTI image", got, "fetch it again") from None
    values = np.squeeze(values)
    if values.ndim == 3 and min(values.shape) <= _MOST_CHANNELS:
        n_channels = min(values.shape)
        if channel >= n_channels:
            remedy = f"0 to {n_channels - 1}"
            raise InputError(f"{path} channel", "a contrast of the file", f"{channel}", remedy)
        values = np.take(values, channel, axis=int(np.argmin(values.shape)))
    if values.ndim != 2:
        remedy = "volumes are read by `infomri data import nifti --masks`"
        raise InputError(str(path), "a two-dimensional image", f"shape {values.shape}", remedy)
    return np.ascontiguousarray(values.T, dtype=np.float32)


def _values(path: Path) -> np.ndarray:
    image: Any = opened(path)
    if reason := nifti_refusal(image):
        raise InputError(str(path), "an image within the limits", reason, "see docs/data.md")
    with tempfile.TemporaryDirectory(prefix="infomri") as scratch:
        plain = Path(scratch) / "volume.nii"
        unpack_nifti(path, plain, image)
        return np.array(need("nibabel").load(plain).dataobj)


def _resized(picture: np.ndarray, size: int, path: Path) -> torch.Tensor:
    """(size, size) from the centre square of a picture (H, W): means over the pixels that fall
    into each new one."""
    side = min(picture.shape)
    if side < size:
        raise InputError(f"{path} size", f"at most {side}", f"{size}", "give a smaller size=")
    top, left = ((n - side) // 2 for n in picture.shape)
    square = torch.from_numpy(picture[top : top + side, left : left + side].astype(np.float32))
    return adaptive_avg_pool2d(square[None], size)[0]
