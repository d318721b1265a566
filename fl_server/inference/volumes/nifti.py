"""Slices as a NIfTI file, where they came from."""

import gzip

import numpy as np

from infomri_core.data.importing.formats.extra import need
from infomri_core.inference.origin import Origin


def nifti_file(slices: np.ndarray, origin: Origin | None) -> bytes:
    """Slices (n, H, W, ...) as .nii.gz on the grid of ``origin``; without one a volume (H, W, n)
    whose voxels are its indices, since an array file says nothing of places."""
    volume, affine = np.moveaxis(slices, 0, 2), np.eye(4)
    if origin is not None:
        volume, affine = origin.placed(slices)
    image = need("nibabel").Nifti1Image(np.ascontiguousarray(volume), affine)
    return gzip.compress(image.to_bytes(), mtime=0)
