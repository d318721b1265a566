"""Outlines in a slice archive: ``mask`` of one rater, or ``masks`` of several."""

from dataclasses import dataclass
from typing import final

import h5py
import numpy as np

from infomri_core.data.base import ABSENT
from infomri_core.data.hdf5.guarded import Hdf5File, damage_refused
from infomri_core.data.labels import stored_names
from infomri_core.system.errors import InputError

ONE, SEVERAL, PRESENT = "mask", "masks", "rater_present"
MOST_RATERS = 16


@final
@dataclass(frozen=True)
class StoredOutlines:
    """``values`` (n, H, W) or (n, R, H, W), zero outside. With one of ``names`` all that is not
    zero is inside, with more of them value v is the v-th. ``present`` (n, R): who looked at it."""

    where: str
    values: h5py.Dataset
    names: tuple[str, ...]
    present: np.ndarray

    @property
    def n_raters(self) -> int:
        """How many raters there are at most on a slice."""
        return int(self.present.shape[1])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Outlines (k, R, M, H, W) uint8 of ``rows`` (k,): zeros and ones, or ``ABSENT``."""
        unique, inverse = np.unique(rows, return_inverse=True)
        with damage_refused(self.where):
            shape = (0, *self.values.shape[1:])
            found = np.asarray(self.values[unique] if len(unique) else np.zeros(shape))
        if found.ndim == 3:
            found = found[:, None]
        if len(self.names) == 1:
            inside = (found > 0)[:, :, None]
        else:
            number = np.arange(1, len(self.names) + 1)[:, None, None]
            self._check(found)
            inside = found[:, :, None] == number
        result = inside.astype(np.uint8)
        result[~self.present[unique]] = ABSENT
        return result[inverse]

    def _check(self, found: np.ndarray) -> None:
        wrong = (found < 0) | (found > len(self.names)) | (found != np.floor(found))
        if wrong.any():
            expected = f"whole numbers 0 .. {len(self.names)}, one for each of the outlines' names"
            got = f"{float(found[wrong].flat[0]):g}"
            raise InputError(self.where, expected, got, "name every outline with outlines=A,B")


def stored_outlines(
    file: Hdf5File, shape: tuple[int, int, int], names: tuple[str, ...]
) -> StoredOutlines | None:
    """The outlines beside images of ``shape`` (n, H, W); None where there are none. ``names``, or
    the attribute ``names`` of the data set, say what they outline."""
    both = [name for name in (ONE, SEVERAL) if name in file]
    if not both:
        if names:
            raise InputError(str(file.path), f"a data set '{ONE}'", "none", "drop outlines=")
        return None
    if len(both) > 1:
        remedy = f"keep '{SEVERAL}' where several raters drew"
        raise InputError(str(file.path), f"'{ONE}' or '{SEVERAL}'", "both", remedy)
    where, values = f"{file.path} {both[0]}", file.dataset(both[0])
    given = names or stored_names(file.attribute(values, "names"), where)
    several = both[0] == SEVERAL
    fits = values.shape == shape or (several and _of_raters(values.shape, shape))
    if not fits or (several and values.ndim != 4) or values.dtype.kind not in "uifb":
        form = f"(n, R, H, W) with images of {shape}" if several else f"{shape}"
        raise InputError(
            where,
            f"numbers of shape {form}, zero outside the outlines",
            f"{values.dtype} {values.shape}",
            "store one mask an image, or give the data set another name",
        )
    return StoredOutlines(where, values, given or (ONE,), _present(file, values))


def _of_raters(found: tuple[int, ...], shape: tuple[int, int, int]) -> bool:
    return len(found) == 4 and (found[0], *found[2:]) == shape and 1 <= found[1] <= MOST_RATERS


def _present(file: Hdf5File, values: h5py.Dataset) -> np.ndarray:
    expected = (values.shape[0], values.shape[1] if values.ndim == 4 else 1)
    if PRESENT not in file:
        return np.ones(expected, bool)
    found = file.array(PRESENT)
    if values.ndim == 3 and found.ndim == 1:
        found = found[:, None]
    if found.shape != expected or found.dtype.kind not in "uib":
        got = f"{found.dtype} {found.shape}"
        remedy = "store for each slice and rater whether he looked at it"
        raise InputError(f"{file.path} {PRESENT}", f"zeros and ones {expected}", got, remedy)
    return found != 0
