"""NumPy's own files from outside: opened without running anything, and not larger than allowed."""

from pathlib import Path

import numpy as np

from infomri_core.data.hdf5.limits import check_bytes, limit_bytes
from infomri_core.system.errors import InputError


def open_npy(path: Path, expected: str, where: str = "") -> np.ndarray:
    """The array in ``path``, mapped and not read. Raises ``InputError`` for a file that holds
    none, or one above the limit of memory; FileNotFoundError where there is no file."""
    where = where or str(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:
        # A damaged header fails inside NumPy's parser with any type of error.
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        reason = "Python objects" if "Python objects" in reason else reason
        raise InputError(where, expected, reason, "save it again with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise InputError(where, expected, "an archive of arrays", "save it with numpy.save")
    check_bytes(where, array.nbytes, limit_bytes())
    return array
