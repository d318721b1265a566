"""The one way to open an HDF5 file from outside, and room to write one of our own.

An HDF5 file can name other files (external storage, external links, virtual data sets), declare
arrays of any size in a kilobyte, and hold chunks that unpack to a thousand times their size. Here
nothing is followed out of the file, and shape, type, filters and size are checked before a read.
A damaged one can hold or end the process that reads it: a child goes first (`verdict`).
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, final

import h5py
import numpy as np

from infomri_core.data.hdf5.checks import check_dataset, check_type, item_bytes
from infomri_core.data.hdf5.limits import check_bytes, limit_bytes
from infomri_core.data.hdf5.verdict import check_trial
from infomri_core.system.errors import InputError

DAMAGE = (
    *(OSError, RuntimeError, KeyError, IndexError, TypeError, ValueError),
    *(MemoryError, OverflowError, NotImplementedError, AttributeError),
)
MAX_TEXT = 256
_BLOCK = 4096
_ATTRIBUTE_BYTES = 1 << 20


@final
class Hdf5File:
    """A foreign file, opened for reading; data sets are reached by name through hard links only.

    ``limit`` is what one read may need, in bytes. Every method raises ``InputError`` for what is
    damaged, leads out of the file, or asks for more than that.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        with damage_refused(str(path)):
            self._file = h5py.File(path, "r")
            self.n_bytes = path.stat().st_size

    def __enter__(self) -> "Hdf5File":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def names(self, group: str = "") -> list[str]:
        """Names in a group, links that lead elsewhere included; none if it is no group."""
        with damage_refused(f"{self.path} {group}".strip()):
            found = self._open(group)
            return sorted(map(str, found)) if isinstance(found, h5py.Group) else []

    def __contains__(self, name: str) -> bool:
        parent, _, last = name.rpartition("/")
        return last in self.names(parent)

    def dataset(self, name: str) -> h5py.Dataset:
        """The data set ``name``, checked but for its size as a whole: one row of it fits."""
        where = f"{self.path} {name}"
        with damage_refused(where):
            found = self._open(name)
            if not isinstance(found, h5py.Dataset):
                raise InputError(where, "a data set", "something else", "see docs/data.md")
            check_dataset(found, self.path, where, self.limit)
            return found

    def array(self, name: str) -> np.ndarray:
        """The whole of a data set; text as ``str`` objects, each of at most 256 characters."""
        dataset, where = self.dataset(name), f"{self.path} {name}"
        with damage_refused(where):
            check_bytes(where, dataset.size * item_bytes(dataset), self.limit)
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return self._text(dataset, where)
            if dataset.dtype.hasobject or dataset.dtype.kind not in "biufcS":
                raise InputError(where, "numbers or text", f"{dataset.dtype}", "convert it")
            return np.asarray(dataset[()])

    def attribute(self, of: h5py.Dataset | None, name: str) -> Any:
        """An attribute of a data set, or of the file; None if there is none."""
        owner = self._file if of is None else of
        where = f"{self.path} {'' if of is None else of.name} attribute '{name}'"
        with damage_refused(where):
            if name not in owner.attrs:
                return None
            stored = owner.attrs.get_id(name)
            check_type(stored.get_type(), where, self.limit)
            n = int(np.prod(stored.shape, dtype=np.float64))
            most = max(64, min(_BLOCK, self.limit // max(self.n_bytes, 1)))
            if n * stored.get_type().get_size() > _ATTRIBUTE_BYTES or n > most:
                raise InputError(where, "a short attribute", f"shape {stored.shape}", "remove it")
            return owner.attrs[name]

    @property
    def attributes(self) -> list[str]:
        """Names of the file's own attributes."""
        with damage_refused(str(self.path)):
            return list(map(str, self._file.attrs))

    def rows_at_once(self) -> int:
        """How many rows of variable length may be read together: each may be as long as the file,
        since rows can share their content."""
        return max(1, min(_BLOCK, self.limit // max(self.n_bytes, 1)))

    def _open(self, name: str) -> Any:
        found: Any = self._file
        for part in filter(None, name.split("/")):
            kind = found.id.links.get_info(part.encode()).type
            if kind != h5py.h5l.TYPE_HARD:
                remedy = "store the data themselves in the file"
                raise InputError(f"{self.path} {name}", "data of this file", "a link", remedy)
            found = found[part]
        return found

    def _text(self, dataset: h5py.Dataset, where: str) -> np.ndarray:
        flat = np.empty(dataset.size, dtype=object)
        decoded = dataset.asstr(errors="surrogateescape")
        if dataset.ndim != 1:
            raise InputError(where, "one column", f"shape {dataset.shape}", "store one column")
        step = self.rows_at_once()
        for start in range(0, len(flat), step):
            block = decoded[start : start + step]
            if max(map(len, block), default=0) > MAX_TEXT:
                raise InputError(where, f"words of {MAX_TEXT} characters", "longer ones", "fix it")
            flat[start : start + step] = block
        return flat


def open_hdf5(path: Path, limit_gib: float = 0.0) -> Hdf5File:
    """A foreign HDF5 file opened for reading, once a trial in a child process is through with it;
    ``InputError`` when it is missing, truncated or foreign, or the trial crashes or has no end.
    ``limit_gib`` bounds one read, by default that of `infomri_core.data.hdf5.limits`."""
    if not path.is_file():
        raise InputError(str(path), "an HDF5 file", "no such file", "check the path")
    check_trial(path)
    return Hdf5File(path, limit_bytes(limit_gib))


@contextmanager
def damage_refused(where: str) -> Iterator[None]:
    """Whatever a damaged file makes HDF5 raise becomes an ``InputError``."""
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        said = str(error).strip("'\"").splitlines()[:1] or [type(error).__name__]
        got = f"an unreadable one ({said[0][:120]})"
        raise InputError(where, "an HDF5 file", got, "copy the file again") from None


def make_room(folder: Path, n_bytes: int) -> None:
    """Raises ``OSError`` unless ``n_bytes`` can be written in ``folder`` now.

    To be asked before an HDF5 file is written: one that cannot be flushed cannot be closed
    either, and takes the process with it.
    """
    with tempfile.TemporaryFile(dir=folder) as stream:
        os.posix_fallocate(stream.fileno(), 0, n_bytes)
