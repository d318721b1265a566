"""Outlines that come in beside images: label maps of one rater or several, on the images' grid."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from infomri_core.system.errors import InputError

MOST_VALUE = 255


@dataclass(frozen=True)
class VolumeOutlines:
    """What raters outlined in a volume. ``present`` (R,): which of them looked at it. ``read``
    yields a label map (R, H, W) uint8 a slice, in the volume's order, turned as its images are and
    zero outside; ``InputError`` for a damaged file or a value that is no outline's."""

    fingerprint: str
    present: tuple[bool, ...]
    read: Callable[[Path], Iterator[np.ndarray]] = field(repr=False)


def as_labels(values: np.ndarray, where: str, n_names: int) -> np.ndarray:
    """``values`` (H, W) as uint8. ``InputError`` where one is not a whole number from 0 to the
    number of outlines that are named (to 255 where at most one is)."""
    most = n_names if n_names > 1 else MOST_VALUE
    good = (values >= 0) & (values <= most) & (values == np.floor(values))
    if not good.all():
        got = f"{float(values[~good].flat[0]):g}"
        remedy = "name every value in order with --outline, or correct the mask"
        if n_names <= 1:
            remedy = "give a label map: zero outside, a whole number for each outline"
        raise InputError(where, f"whole numbers 0 .. {most}", got, remedy)
    return values.astype(np.uint8)
