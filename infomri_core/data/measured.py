"""Whether k-space was measured as a whole: what was not measured must not be taken for zeros.

An undersampled scan (a fastMRI test file, parallel imaging, an aborted acquisition) stored on the
full grid holds zeros where nothing was measured. Its Fourier transform is an image with aliasing
or blur that nothing would tell from an image afterwards, so such k-space is refused.
"""

import numpy as np

from infomri_core.data.hdf5.guarded import Hdf5File
from infomri_core.system.errors import InputError

_MOST_EMPTY, _NOTHING = 0.1, 1e-12
REMEDY = (
    "use fully sampled k-space; `infomri audit --external` takes measurements with their masks"
)


def check_complete(kspace: np.ndarray, where: str) -> None:
    """Refuse k-space (..., H, W) of which lines or points are missing; see :func:`missing`."""
    reason = missing(kspace)
    if reason:
        raise InputError(where, "fully sampled k-space", reason, REMEDY)


def missing(kspace: np.ndarray) -> str:
    """What is missing of k-space (..., H, W), '' if nothing is; zeros, and what is nothing
    beside the largest value, were not measured.

    Zeros at the edges alone are padding or partial Fourier, as long as the centre and more than
    half of the lines are there.
    """
    strength = np.abs(kspace).reshape(-1, *kspace.shape[-2:])
    there = ~(strength <= _NOTHING * strength.max(initial=0)).all(axis=0)
    if not there.any():
        return ""
    for name, lines in (("rows", there.any(axis=1)), ("columns", there.any(axis=0))):
        reason = missing_lines(lines)
        if reason:
            return f"k-space with {reason} {name}"
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    box = there[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    empty = 1.0 - float(box.mean())
    return f"k-space with {empty:.0%} of its points unmeasured" if empty > _MOST_EMPTY else ""


def missing_lines(measured: np.ndarray) -> str:
    """What is missing of the lines (n,) along one axis: '' when those measured are neighbours,
    have the centre n // 2 among them, and are more than half."""
    found = np.flatnonzero(measured)
    if not len(found):
        return "no measured"
    if found[-1] - found[0] + 1 != len(found):
        return f"{found[-1] - found[0] + 1 - len(found)} unmeasured"
    if not measured[len(measured) // 2] or 2 * len(found) <= len(measured):
        return f"only {len(found)} of {len(measured)} measured"
    return ""


def check_mask(file: Hdf5File) -> None:
    """Refuse a k-space file beside whose 'kspace' stands a 'mask' that leaves points out, or that
    says it was accelerated and not where it was measured."""
    if "mask" not in file.names():
        said = file.attribute(None, "acceleration")
        if isinstance(said, int | float | np.number) and said > 1:
            where, got = f"{file.path} attribute acceleration", f"{said:g} and no mask"
            raise InputError(where, "fully sampled k-space", got, REMEDY)
        return
    mask = file.array("mask")
    if mask.dtype.kind not in "biuf" or not np.asarray(mask != 0).all():
        taken = np.count_nonzero(mask) if mask.dtype.kind in "biuf" else 0
        got = f"a mask that measures {taken} of {mask.size}"
        raise InputError(f"{file.path} mask", "fully sampled k-space", got, REMEDY)
