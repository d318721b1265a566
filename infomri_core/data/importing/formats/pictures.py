"""Folders of PNG, JPEG, TIFF or BMP files as volumes: the pictures of one folder and patient."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from infomri_core.data.hdf5.limits import MAX_SIDE
from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.component import negative_share, of_name
from infomri_core.data.importing.formats.pixels import suspect_text
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import (
    Frame,
    Journal,
    Left,
    Volume,
    built,
    fingerprint,
    walk,
)

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# No other decoder is asked, whatever a file's first bytes say.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_DAMAGED = "damaged or truncated picture"
SEVERAL = "several pages or frames in one file: save each as a file"


def scan_pictures(
    folder: Path, choice: Choice, rule: PatientRule, journal: Journal, tick: Callable[[], None]
) -> list[Volume]:
    """The volumes below ``folder``: one for each patient, folder and size, in the order of the
    numbers in the files' names. Colour pictures are taken if they are grey in truth.

    Patients are named by the files' paths (``rule``); nothing in a picture is turned.
    """
    groups: dict[tuple[str, str, tuple[int, int]], list[Path]] = defaultdict(list)
    for path in walk(folder):
        tick()
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in ENDINGS:
            journal.skip(path, "not a picture")
            continue
        shape = _shape(path)
        patient = rule(name)
        reason = choice.refusal((name,)) or of_name(path.stem)
        reason = reason or ("" if patient else "no patient in the path (--patient)")
        if reason or isinstance(shape, str):
            reason = reason or str(shape)
            journal.skip(path, reason)
            continue
        groups[patient, str(path.parent.relative_to(folder)), shape].append(path)
    if groups:
        journal.warn("pictures carry no orientation: nothing is turned")
    stems = Counter(path.stem for paths in groups.values() for path in paths)
    return built(
        groups.items(),
        lambda group: _volume(folder, *group[0], sorted(group[1], key=_natural), stems),
        lambda group: folder / group[0][1],
        journal,
    )


def _volume(
    folder: Path,
    patient: str,
    place: str,
    shape: tuple[int, int],
    paths: list[Path],
    stems: Counter[str],
) -> Volume:
    def names(path: Path) -> tuple[str, ...]:
        whole = path.relative_to(folder).as_posix()
        # A name that stands in several folders finds a label only together with its folder.
        return (whole, path.name, path.stem) if stems[path.stem] == 1 else (whole,)

    return Volume(
        patient=patient,
        study=(),
        series=(place,),
        slices=tuple(names(path) for path in paths),
        positions=tuple(i / max(len(paths) - 1, 1) for i in range(len(paths))),
        shape=shape,
        spacing=(1.0, 1.0),
        plane="unknown",
        name=place,
        place=place,
        fingerprint=fingerprint(*paths),
        read=partial(_read, paths),
    )


def _shape(path: Path) -> tuple[int, int] | str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if getattr(image, "n_frames", 1) > 1:
                    return SEVERAL
                fits = max(image.size) <= MAX_SIDE
                return (image.height, image.width) if fits else _DAMAGED
    except Exception:
        # Damaged pictures fail inside Pillow with any type of error; bombs are refused here, too.
        return _DAMAGED


def _read(paths: list[Path], scratch: Path) -> Iterator[Frame | Left]:
    for path in paths:
        yield _decode(path)


def _decode(path: Path) -> Frame | Left:
    try:
        with Image.open(path, formats=FORMATS) as image:
            odd = image.mode in ("P", "RGBA", "LA", "PA", "CMYK", "YCbCr")
            pixels = np.asarray(image.convert("RGB") if odd else image)
    except Exception:
        return Left(_DAMAGED)
    if pixels.ndim == 3:
        # JPEG may shift grey by a step between channels.
        if np.ptp(pixels.astype(np.int16), axis=2).max(initial=0) > 8:
            return Left("colour image")
        pixels = pixels.mean(axis=2)
    grey = np.maximum(pixels.astype(np.float32), 0.0)
    if not np.isfinite(grey).all():
        return Left("NaN or infinite values")
    return Frame(grey, suspect_text(grey), negative_share(pixels))


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sorts slice2 before slice10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
