"""What is done to the pixels of one slice on the way in."""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

BRIGHT, DARK = 0.92, 0.25
GLYPHS = 4


def fit(image: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]) -> np.ndarray:
    """The whole slice on a grid of ``size`` (H, W) with square pixels, anti-aliased, float32.

    The slice is padded with zeros around its centre until its field of view (pixels times
    ``spacing``) has the grid's aspect, so anatomy is neither cut off nor stretched.
    """
    height, width = image.shape[0] * spacing[0], image.shape[1] * spacing[1]
    pixel = max(height / size[0], width / size[1])
    rows = min(size[0], max(1, round(height / pixel)))
    columns = min(size[1], max(1, round(width / pixel)))
    small = image
    if (rows, columns) != image.shape:
        # Pillow widens the triangle by the factor an axis shrinks by, which is the anti-aliasing.
        picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
        small = np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR))
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    result = np.zeros(size, dtype=np.float32)
    result[top : top + rows, left : left + columns] = small
    return result


def fit_labels(
    labels: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]
) -> np.ndarray:
    """Label maps (R, H, W) on the grid that :func:`fit` puts their image on: each pixel takes the
    value that covers most of it."""
    return np.stack([_fit_one(one, size, spacing) for one in labels])


def _fit_one(
    labels: np.ndarray, size: tuple[int, int], spacing: tuple[float, float]
) -> np.ndarray:
    values = np.unique(labels)
    values = values[values > 0]
    covers = [fit((labels == v).astype(np.float32), size, spacing) for v in values]
    background = 1 - np.sum(covers, axis=0) if covers else np.ones(size, np.float32)
    found: np.ndarray = np.concatenate(([0], values))[np.argmax([background, *covers], axis=0)]
    return found.astype(np.uint8)


def suspect_text(image: np.ndarray) -> bool:
    """Whether letters may be drawn into a slice (H, W): at least four glyphs in one line.

    A glyph is a connected stroke near the slice's maximum, 5 to 40 pixels high, most of whose
    pixels touch something dark. Anatomy seldom has four of one height in a row. It is a warning,
    not a proof: text that is grey, rotated, or scaled down stays unseen.
    """
    top = float(image.max(initial=0.0))
    if top <= 0 or not math.isfinite(top):
        return False
    bright = image >= BRIGHT * top
    if not 20 <= bright.sum() <= 0.1 * image.size:
        return False
    labels, n_found = ndimage.label(bright, structure=np.ones((3, 3)))
    if not GLYPHS <= n_found <= 2000:
        return False
    edge = bright & (ndimage.minimum_filter(image, size=3, mode="nearest") <= DARK * top)
    boxes = ndimage.find_objects(labels)
    areas = ndimage.sum_labels(bright, labels, np.arange(1, n_found + 1))
    sharp = ndimage.sum_labels(edge, labels, np.arange(1, n_found + 1)) / areas
    middles: list[tuple[float, int]] = []
    for box, area, share in zip(boxes, areas, sharp):
        height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
        if 5 <= height <= 40 and width <= 2 * height and area >= 5 and share >= 0.8:
            middles.append(((box[0].start + box[0].stop) / 2, height))
    return any(_in_line(middle, height, middles) >= GLYPHS for middle, height in middles)


def _in_line(middle: float, height: int, others: list[tuple[float, int]]) -> int:
    return sum(
        abs(other - middle) <= 0.25 * height and abs(size - height) <= max(1, 0.25 * height)
        for other, size in others
    )
