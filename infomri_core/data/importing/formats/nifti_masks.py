"""Label maps in NIfTI: which image they belong to, and whether they lie on its grid."""

import fnmatch
import itertools
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from infomri_core.data.importing.bounds import nifti_refusal
from infomri_core.data.importing.formats.nifti_file import ENDINGS, Cut, opened, planes
from infomri_core.data.importing.outlines import VolumeOutlines, as_labels
from infomri_core.data.importing.volume import Left, fingerprint, walk
from infomri_core.system.errors import InputError

_REGRID = (
    "export the mask on its image's grid (resampling it here would move its edges), or leave the "
    "image out with --exclude"
)
_SHIFT = 0.1


@final
class NiftiMasks:
    """The masks of each rater. A rater's are named by a folder, or by a pattern in which ``*``
    stands for the image's name or for that without its last ``_word`` (``*_gt``, ``../labels/*``).

    In a folder the mask of an image is the file of the same path or, where all masks or all images
    lie in one folder, of the same name; a mask's name may go on after that of its image
    (``knee1_rater2``), an image's after its mask's (``liver_0000``).
    """

    def __init__(self, folder: Path, places: tuple[str, ...], names: tuple[str, ...] = ()) -> None:
        """``names`` of the outlines, if any. ``InputError`` for a place that is neither."""
        self._folder, self._names = folder.resolve(), names
        self._raters = [_rater(folder, place) for place in places]
        self._owners: dict[Path, str] = {}
        self._refused: list[tuple[str, str, str]] = []

    def holds(self, path: Path) -> bool:
        """Whether a file below the images' folder is a mask, so no image."""
        path = path.resolve()
        return any(
            path in rater if isinstance(rater, dict) else _fits(path, rater)
            for rater in self._raters
        )

    def of(self, path: Path, patient: str, image: Any, cut: Cut) -> VolumeOutlines:
        """The outlines of a ``patient``'s image at ``path`` with header ``image``. A mask on
        another grid is remembered for :meth:`check`; ``InputError`` for one that is not clearly
        this image's."""
        path = path.resolve()
        found = [
            _in_folder(path, path.relative_to(self._folder).parent, rater)
            if isinstance(rater, dict)
            else _beside(path, rater)
            for rater in self._raters
        ]
        for mask in filter(None, found):
            if self._owners.setdefault(mask, patient) != patient:
                remedy = "give masks the paths of their images, folder by folder"
                raise InputError(str(mask), "a mask of one patient", "images of several", remedy)
            self._check_grid(mask, image)
        there = [mask for mask in found if mask is not None]
        read = partial(_read, tuple(found), cut, image_shape(image, cut), self._names)
        mark = f"{self._names} {fingerprint(*there)}"
        return VolumeOutlines(mark, tuple(mask is not None for mask in found), read)

    def check(self) -> None:
        """``InputError`` for masks on other grids, and where not one belongs to an image."""
        if self._refused:
            where, expected, got = self._refused[0]
            more = len(self._refused) - 1
            got += f" (and {more} further masks on other grids)" if more else ""
            raise InputError(where, expected, got, _REGRID)
        if not self._owners:
            remedy = "give --masks a folder, or a pattern such as '*_gt' (* is the image's name)"
            raise InputError("--masks", "masks of the images", "none that fits an image", remedy)

    def unused(self) -> int:
        """How many masks belong to no image that was taken."""
        there = {path for rater in self._raters if isinstance(rater, dict) for path in rater}
        return len(there - self._owners.keys())

    def _check_grid(self, mask: Path, image: Any) -> None:
        try:
            held = opened(mask)
            refusal = nifti_refusal(held)
        except Exception as error:
            # nibabel raises errors of many types on what it cannot read.
            got = f"unreadable data ({type(error).__name__})"
            raise InputError(str(mask), "a NIfTI label map", got, "export it again") from None
        if refusal:
            raise InputError(str(mask), "a NIfTI label map", refusal, "export it again")
        if math.prod(held.shape[3:]) > 1:
            got = f"shape {held.shape}"
            remedy = "store one value an outline in one volume, or a file a rater"
            raise InputError(str(mask), "a label map of three axes", got, remedy)
        shape, given = _three(image.shape), _three(held.shape)
        if shape != given:
            self._refused.append((str(mask), f"{shape} voxels, as its image", str(given)))
            return
        away = _displacement(image.affine, held.affine, shape)
        if away > _SHIFT:
            how = f"{away:.3g} voxels away at a corner"
            self._refused.append((str(mask), "the affine of its image", how))


def image_shape(image: Any, cut: Cut) -> tuple[int, int]:
    """(H, W) of a slice, not turned yet."""
    shape = _three(image.shape)
    return shape[cut.axes[1]], shape[cut.axes[0]]


def _read(
    masks: tuple[Path | None, ...],
    cut: Cut,
    shape: tuple[int, int],
    names: tuple[str, ...],
    scratch: Path,
) -> Iterator[np.ndarray]:
    streams: list[Iterator[np.ndarray | Left]] = []
    for number, mask in enumerate(masks):
        if mask is None:
            streams.append(itertools.repeat(np.zeros(shape, np.uint8), cut.depth))
            continue
        own = scratch / f"rater{number}"
        own.mkdir()
        streams.append(planes(mask, cut, own))
    for found in zip(*streams):
        drawn = []
        for mask, plane in zip(masks, found):
            if isinstance(plane, Left):
                raise InputError(str(mask), "a whole NIfTI file", plane.reason, "export it again")
            drawn.append(cut.turn.apply(as_labels(plane, str(mask), len(names))))
        yield np.stack(drawn)


def _rater(folder: Path, place: str) -> dict[Path, Path] | str:
    """The masks of a folder with the folder each lies in below it, or the pattern."""
    if "*" in place and place != "*":
        return place
    for root in (Path(place).resolve(), folder.resolve() / place):
        if root.is_dir():
            files = [path for path in walk(root) if path.name.lower().endswith(ENDINGS)]
            return {path.resolve(): path.relative_to(root).parent for path in files}
    remedy = "give a folder, or a pattern such as '*_gt' in which * is the image's name"
    raise InputError("--masks", "a folder, or a pattern with *", place, remedy)


def _fits(path: Path, pattern: str) -> bool:
    """Whether a file is one that the pattern could mean for some image."""
    last = Path(pattern)
    named = last.parent.name in ("", "..", path.parent.name)
    return named and fnmatch.fnmatchcase(stem(path), stem(last))


def _beside(path: Path, pattern: str) -> Path | None:
    name = stem(path)
    for known in dict.fromkeys((name, name.rpartition("_")[0] or name)):
        asked = path.parent / pattern.replace("*", known)
        for ending in ("", *ENDINGS[::-1]):
            mask = asked.with_name(asked.name + ending)
            if mask.is_file() and mask.resolve() != path:
                return mask.resolve()
    return None


def _in_folder(path: Path, parent: Path, masks: dict[Path, Path]) -> Path | None:
    name, top = stem(path), Path()
    near = [mask for mask, place in masks.items() if place == parent and mask != path]
    if not near or parent == top:
        near = [mask for mask, place in masks.items() if top in (place, parent)]
    like = [mask for mask in near if _begins(stem(mask), name) or _begins(name, stem(mask))]
    found = [mask for mask in like if stem(mask) == name] or like
    if len(found) > 1:
        remedy = "give each rater's masks in a folder of its own, a --masks for each"
        raise InputError(str(path), "one mask a rater", f"{len(found)} that fit", remedy)
    return found[0] if found else None


def _begins(longer: str, start: str) -> bool:
    return longer == start or (longer.startswith(start) and longer[len(start)] in "_-.")


def stem(path: Path) -> str:
    """A file's name without .nii or .nii.gz."""
    return re.sub(r"(?i)\.nii(\.gz)?$", "", path.name)


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[:3]) + (1,) * (3 - len(shape))


def _displacement(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far the two affines put a corner of the grid apart, in the first's smallest voxels."""
    corners = np.array([(*c, 1) for c in itertools.product(*((0, n - 1) for n in shape))], float)
    apart = np.linalg.norm(corners @ (np.asarray(first) - np.asarray(second)).T, axis=1).max()
    spacing = np.linalg.norm(np.asarray(first)[:3, :3], axis=0)
    return float(apart / max(float(spacing[spacing > 0].min(initial=1.0)), 1e-6))
