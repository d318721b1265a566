"""A contact sheet: the slices that a person should look at, on one picture."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from infomri_core.data.checking.check import Suspicious
from infomri_core.data.hdf5 import open_hdf5
from infomri_core.errors import InputError

TILE, CAPTION, COLUMNS, MOST = 160, 34, 6, 60
_PAPER, _INK = 250, 20


def write_sheet(path: Path, archive: Path, suspicious: list[Suspicious]) -> None:
    """Draw at most 60 slices of ``archive`` with row and reason as a PNG at ``path``.

    Kinds of findings take turns, so that many of one kind do not hide another. The file shows
    patients: it is readable by its owner alone. ``InputError`` if it cannot be written.
    """
    chosen = _in_turns(suspicious)
    n_columns = min(COLUMNS, len(chosen))
    n_rows = -(-len(chosen) // n_columns)
    step_y, step_x, top = TILE + CAPTION, TILE + 8, 26
    sheet = Image.new("L", (n_columns * step_x + 8, top + n_rows * step_y + 8), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(14), ImageFont.load_default(11)
    shown = f"{len(chosen)} of {len(suspicious)} findings"
    draw.text((8, 5), f"{archive.name}: {shown}", fill=_INK, font=title)
    with open_hdf5(archive) as file:
        for number, one in enumerate(chosen):
            x = 8 + number % n_columns * step_x
            y = top + number // n_columns * step_y
            sheet.paste(_tile(np.asarray(file["image"][one.row], dtype=np.float32)), (x, y))
            draw.text((x, y + TILE + 2), f"row {one.row}", fill=_INK, font=small)
            draw.text((x, y + TILE + 15), one.reason, fill=_INK, font=small)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            sheet.save(stream, "PNG")
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), "a picture to write", got, "name another --sheet") from None


def _tile(image: np.ndarray) -> Image.Image:
    """The slice on a square of grey, its own maximum white, its aspect kept."""
    image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    scaled = np.clip(image / max(float(image.max()), 1e-6), 0.0, 1.0) * 255
    picture = Image.fromarray(scaled.astype(np.uint8))
    ratio = TILE / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    tile = Image.new("L", (TILE, TILE), 0)
    tile.paste(picture.resize(size), ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _in_turns(suspicious: list[Suspicious]) -> list[Suspicious]:
    kinds: dict[str, list[Suspicious]] = {}
    for one in suspicious:
        kinds.setdefault(one.reason.split(" (")[0], []).append(one)
    chosen: list[Suspicious] = []
    for turn in range(max(map(len, kinds.values()))):
        chosen += [group[turn] for group in kinds.values() if turn < len(group)]
    return sorted(chosen[:MOST], key=lambda one: (one.reason, one.row))
