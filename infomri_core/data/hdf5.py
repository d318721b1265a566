"""Opening HDF5 files with errors that a person can act on, and room to write them."""

import os
import tempfile
from pathlib import Path

import h5py

from infomri_core.errors import InputError


def open_hdf5(path: Path) -> h5py.File:
    """An HDF5 file opened for reading; ``InputError`` when it is missing, truncated or foreign."""
    if not path.is_file():
        raise InputError(str(path), "an HDF5 file", "no such file", "check the path")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(
            str(path), "an HDF5 file", f"an unreadable one ({error})", "copy the file again"
        ) from None


def make_room(folder: Path, n_bytes: int) -> None:
    """Raises ``OSError`` unless ``n_bytes`` can be written in ``folder`` now.

    To be asked before an HDF5 file is written: one that cannot be flushed cannot be closed
    either, and takes the process with it.
    """
    with tempfile.TemporaryFile(dir=folder) as stream:
        os.posix_fallocate(stream.fileno(), 0, n_bytes)
