"""A contact sheet: the slices that a person should look at, on one picture."""

import os
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from infomri_core.data.checking.check import Suspicious
from infomri_core.data.hdf5.guarded import open_hdf5
from infomri_core.system.errors import InputError

TILE, CAPTION, COLUMNS = 160, 62, 6
_LETTERS, _LINES = 27, 3
EACH, MOST = 12, 60
_PAPER, _INK, _LINE = 250, 20, 170


def write_sheet(path: Path, archive: Path, suspicious: list[Suspicious]) -> None:
    """Draw slices of ``archive`` with row and reasons as a PNG at ``path``: 12 a kind, 60 in all.

    The file shows patients: it is readable by its owner alone. ``InputError`` if it cannot be
    written.
    """
    chosen = _chosen(suspicious)
    n_columns = min(COLUMNS, len(chosen))
    n_rows = -(-len(chosen) // n_columns)
    step_y, step_x, top = TILE + CAPTION, TILE + 8, 26
    sheet = Image.new("L", (n_columns * step_x + 8, top + n_rows * step_y + 8), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(14), ImageFont.load_default(11)
    n_slices = len({one.row for one in suspicious})
    shown = f"{archive.name}: {len(chosen)} of {n_slices} slices to look at"
    draw.text((8, 5), shown, fill=_INK, font=title)
    with open_hdf5(archive) as file:
        images = file.dataset("image")
        for number, (row, reasons) in enumerate(chosen.items()):
            x = 8 + number % n_columns * step_x
            y = top + number // n_columns * step_y
            sheet.paste(_tile(np.asarray(images[row], dtype=np.float32)), (x, y))
            draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), outline=_LINE)
            words = [line for reason in reasons for line in textwrap.wrap(reason, _LETTERS)]
            for i, line in enumerate((f"row {row}", *words[:_LINES])):
                draw.text((x, y + TILE + 2 + 13 * i), line, fill=_INK, font=small)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            sheet.save(stream, "PNG")
    except OSError as error:
        got = error.strerror or type(error).__name__
        raise InputError(str(path), "a picture to write", got, "name another --sheet") from None


def _tile(image: np.ndarray) -> Image.Image:
    """The slice on a square of grey, from its least value (black) to its greatest (white), its
    aspect kept; a slice of one value is black."""
    image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / max(high - low, 1e-6) * 255
    picture = Image.fromarray(scaled.astype(np.uint8))
    ratio = TILE / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    tile = Image.new("L", (TILE, TILE), 0)
    tile.paste(picture.resize(size), ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _chosen(suspicious: list[Suspicious]) -> dict[int, list[str]]:
    """Rows and their reasons, kind after kind, the fewest of a kind first."""
    kinds: dict[str, list[int]] = {}
    reasons: dict[int, list[str]] = {}
    for one in suspicious:
        kinds.setdefault(one.kind, []).append(one.row)
        reasons.setdefault(one.row, []).append(one.reason)
    rows = [row for kind in sorted(kinds.values(), key=len) for row in kind[:EACH]]
    return {row: reasons[row] for row in dict.fromkeys(rows[:MOST])}
