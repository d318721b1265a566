"""Folders of PNG, JPEG, TIFF or BMP files as volumes: the pictures of one folder and patient."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from infomri_core.data.importing.choice import Choice
from infomri_core.data.importing.component import negative_share, of_file_name
from infomri_core.data.importing.formats import picture_kind as kinds
from infomri_core.data.importing.formats.picture_kind import picture_kind
from infomri_core.data.importing.formats.pixels import suspect_text
from infomri_core.data.importing.patients import PatientRule
from infomri_core.data.importing.volume import (
    Frame,
    Journal,
    Left,
    Names,
    Volume,
    built,
    fingerprint,
    walk,
    why_not,
)

Page = tuple[Path, int]
# Patient, folder (or file of several pages), shape, depth: pictures of one grey scale.
Group = tuple[str, str, tuple[int, int], int]


def scan_pictures(
    folder: Path, choice: Choice, rule: PatientRule, journal: Journal, tick: Callable[[], None]
) -> list[Volume]:
    """The volumes below ``folder``: one for each patient, folder, size and depth, in the order of
    the numbers in the files' names; a TIFF file of several pages is a volume of its own. Colour
    pictures are taken if they are grey in truth.

    Patients are named by the files' paths (``rule``); nothing in a picture is turned.
    """
    groups: dict[Group, list[Page]] = defaultdict(list)
    for path in walk(folder):
        tick()
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in kinds.ENDINGS:
            other = path.suffix.lower() in kinds.OTHER
            journal.skip(path, kinds.OTHER_FORMAT if other else why_not(path, "a picture"))
            continue
        kind, patient = picture_kind(path), rule(name)
        reason = choice.refusal((name,)) or of_file_name(path.stem)
        reason = reason or ("" if patient else "no patient in the path (--patient)")
        if reason or isinstance(kind, str):
            journal.skip(path, reason or str(kind))
            continue
        place = name if len(kind.pages) > 1 else str(path.parent.relative_to(folder))
        groups[patient, place, kind.shape, kind.depth] += [(path, page) for page in kind.pages]
        if kind.others:
            journal.skip(path, kinds.OTHER_PAGE, kind.others)
    if groups:
        journal.warn("pictures carry no orientation: nothing is turned")
    files = {path for pages in groups.values() for path, _ in pages}
    stems = Counter(path.stem for path in files)
    return built(
        groups.items(),
        lambda group: _volume(folder, group[0], sorted(group[1], key=_natural), stems),
        lambda group: folder / group[0][1],
        journal,
    )


def _volume(folder: Path, group: Group, pages: list[Page], stems: Counter[str]) -> Volume:
    patient, place, shape, _ = group
    several = len({path for path, _ in pages}) < len(pages)

    def names(page: Page) -> Names:
        path, number = page
        whole = path.relative_to(folder).as_posix()
        # A name that stands in several folders finds a label only together with its folder.
        found = (whole, path.name, path.stem) if stems[path.stem] == 1 else (whole,)
        numbered = (str(number + 1), *(f"{name}:{number + 1}" for name in found))
        return numbered if several else found

    file = pages[0][0]
    return Volume(
        patient=patient,
        study=(),
        series=(place, file.name, file.stem) if several else (place,),
        slices=tuple(names(page) for page in pages),
        positions=tuple(i / max(len(pages) - 1, 1) for i in range(len(pages))),
        shape=shape,
        spacing=(1.0, 1.0),
        plane="unknown",
        name=place,
        place=place,
        fingerprint=fingerprint(*dict.fromkeys(path for path, _ in pages)),
        read=partial(_read, pages),
    )


def _read(pages: list[Page], scratch: Path) -> Iterator[Frame | Left]:
    for path, number in pages:
        yield _decode(path, number)


def _decode(path: Path, number: int = 0) -> Frame | Left:
    try:
        with Image.open(path, formats=kinds.FORMATS) as image:
            image.seek(number)
            if _transparent(image):
                return Left(kinds.TRANSPARENT)
            odd = image.mode in ("P", "RGBA", "LA", "PA", "YCbCr")
            pixels = np.asarray(image.convert("RGB") if odd else image)
    except Exception:
        return Left(kinds.DAMAGED)
    if pixels.ndim == 3:
        # JPEG may shift grey by a step between channels.
        if np.ptp(pixels.astype(np.int16), axis=2).max(initial=0) > 8:
            return Left(kinds.COLOUR)
        pixels = pixels.mean(axis=2)
    grey = np.maximum(pixels.astype(np.float32), 0.0)
    if not np.isfinite(grey).all():
        return Left("NaN or infinite values")
    return Frame(grey, suspect_text(grey), negative_share(pixels))


def _transparent(image: Image.Image) -> bool:
    """Whether any pixel lets something else shine through."""
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return False
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


def _natural(page: Page) -> tuple[list[tuple[int, int | str]], int]:
    """Sorts slice2 before slice10, and pages by their numbers."""
    parts = re.split(r"(\d+)", page[0].name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts], page[1]
