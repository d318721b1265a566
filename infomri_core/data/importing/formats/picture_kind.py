"""What a picture file holds, told before its pixels are decoded: pages, depth, or why none."""

import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from infomri_core.data.hdf5.limits import MAX_SIDE

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# No other decoder is asked, whatever a file's first bytes say.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
OTHER = (".gif", ".webp", ".jp2", ".j2k", ".avif", ".heic")
OTHER_FORMAT = "picture in GIF, WebP, JPEG 2000 or the like: save it as PNG or TIFF"
DAMAGED = "damaged or truncated picture"
SEVERAL = "several pages or frames in one file: save each as a file"
OTHER_PAGE = "further pages of another size or depth in a TIFF file"
COLOUR = "colour image"
BLACK_AND_WHITE = "black and white without grey values: a mask or a drawing"
TRANSPARENT = "partly transparent: what is below is not known"
WHITE_IS_ZERO = "white is zero (TIFF of more than 8 bits): save it with black as zero"
TURNED = "turned by a mark in the file (EXIF orientation): turn the pixels, and save it"
_PHOTOMETRIC, _ORIENTATION = 262, 274
_DEPTHS = {"I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 33}
_COLOURED = ("P", "PA", "LA", "RGB", "RGBA", "YCbCr")


class Kind(NamedTuple):
    """``depth``: bits a grey value, 33 for floats; ``pages`` of a TIFF that are like the first,
    ``others`` that are not."""

    shape: tuple[int, int]
    depth: int
    pages: tuple[int, ...] = (0,)
    others: int = 0


def picture_kind(path: Path) -> Kind | str:
    """What the file at ``path`` holds, or why it is left out."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return _kind(image)
    except Exception:
        # Damaged pictures fail inside Pillow with any type of error; bombs are refused here, too.
        return DAMAGED


def _kind(image: Image.Image) -> Kind | str:
    if max(image.size) > MAX_SIDE:
        return DAMAGED
    n_pages = getattr(image, "n_frames", 1)
    if n_pages > 1 and image.format != "TIFF":
        return SEVERAL
    if image.mode == "1":
        return BLACK_AND_WHITE
    if image.mode not in ("L", *_DEPTHS, *_COLOURED):
        return COLOUR
    if _white_is_zero(image):
        return WHITE_IS_ZERO
    if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
        return TURNED
    first, like = (image.size, image.mode), []
    for page in range(n_pages):
        image.seek(page)
        if (image.size, image.mode) == first and not _white_is_zero(image):
            like.append(page)
    (width, height), mode = first
    return Kind((height, width), _DEPTHS.get(mode, 8), tuple(like), n_pages - len(like))


def _white_is_zero(image: Image.Image) -> bool:
    """Pillow turns 8-bit pages round itself, and no others."""
    tags = getattr(image, "tag_v2", {})
    return image.mode in _DEPTHS and tags.get(_PHOTOMETRIC) == 0
