"""What a data set of a foreign HDF5 file may be: checked from its header, before any read."""

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from infomri_core.data.hdf5.limits import check_bytes, inflates_within
from infomri_core.system.errors import InputError

FREE_BYTES = 64 << 20
MAX_RATIO = 256
_DEFLATE_RATIO = 1032
_MAX_FIELDS, _MAX_DEPTH = 64, 4
_LZF = 32000
_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    _LZF: "lzf",
}
_PLAIN = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM)
_COMPLEX = getattr(h5py.h5t, "COMPLEX", None)


def check_dataset(dataset: h5py.Dataset, path: Path, where: str, limit: int) -> None:
    """Refuse storage outside the file, types that point elsewhere, unknown filters, and more
    unpacked bytes than the stored ones can stand for. Rows are counted along the first axis.

    Up to 64 MiB any array is taken; beyond, at most 256 bytes for a stored one.
    """
    if dataset.shape is None:
        raise InputError(where, "an array", "an empty data space", "store the data")
    plist = dataset.id.get_create_plist()
    if plist.get_external_count() or plist.get_layout() == h5py.h5d.VIRTUAL:
        got = "data kept in other files"
        raise InputError(where, "data of this file", got, "store the data themselves in it")
    check_type(dataset.id.get_type(), where, limit)
    _check_filters(plist, where)
    n_bytes = _product(dataset.shape) * item_bytes(dataset)
    rows = max(1, dataset.shape[0]) if dataset.ndim > 1 else 1
    check_bytes(where, n_bytes // rows if dataset.ndim > 1 else item_bytes(dataset), limit)
    stored = min(_stored(dataset, plist, path, where, limit), path.stat().st_size)
    if n_bytes > max(FREE_BYTES, MAX_RATIO * stored):
        got = f"{n_bytes} bytes unpacked of {stored} stored"
        raise InputError(where, "the data that its shape promises", got, "copy the file again")


def item_bytes(dataset: h5py.Dataset) -> int:
    """Bytes of one element, in the file or in memory, whichever is more."""
    return max(int(dataset.dtype.itemsize), int(dataset.id.get_type().get_size()))


def check_type(kind: Any, where: str, limit: int, depth: int = 0) -> None:
    """Refuse references, opaque types, and nesting that no format of ours has."""
    code = kind.get_class()
    check_bytes(where, kind.get_size(), limit)
    if code in _PLAIN or code == _COMPLEX:
        return
    known = code in (h5py.h5t.COMPOUND, h5py.h5t.ARRAY, h5py.h5t.VLEN)
    inner = [kind]
    if code == h5py.h5t.COMPOUND:
        inner = [kind.get_member_type(i) for i in range(min(kind.get_nmembers(), _MAX_FIELDS + 1))]
    elif known:
        inner = [kind.get_super()]
    plain = code != h5py.h5t.VLEN or inner[0].get_class() in _PLAIN[:2]
    if not known or not plain or depth >= _MAX_DEPTH or len(inner) > _MAX_FIELDS:
        got = "references or a type made of many others"
        raise InputError(where, "numbers or text", got, "store plain arrays")
    for one in inner:
        check_type(one, where, limit, depth + 1)


def _check_filters(plist: Any, where: str) -> None:
    used = Counter(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))
    for code, times in used.items():
        if code not in _FILTERS or times > 1:
            got = f"filter {code}" if times == 1 else f"{_FILTERS.get(code, code)} {times} times"
            expected = f"compression by {', '.join(_FILTERS.values())}, each once"
            raise InputError(where, expected, got, "repack it: h5repack -f GZIP=1 OLD NEW")


def _stored(dataset: h5py.Dataset, plist: Any, path: Path, where: str, limit: int) -> int:
    """Bytes that the data set takes up in the file; ``InputError`` for chunks that would unpack
    to more than they are declared to hold."""
    if plist.get_layout() != h5py.h5d.CHUNKED:
        return int(dataset.id.get_storage_size())
    nominal = _product(plist.get_chunk()) * item_bytes(dataset)
    check_bytes(f"{where} chunk", nominal, limit)
    chunks: list[tuple[int, int]] = []
    dataset.id.chunk_iter(lambda chunk: chunks.append((chunk.byte_offset, chunk.size)))
    most = nominal + nominal // 8 + 4096
    packed = plist.get_nfilters() > 0
    for offset, size in chunks:
        bomb = size > most
        if packed and not bomb and size * _DEFLATE_RATIO > max(limit, FREE_BYTES):
            bomb = not inflates_within(path, offset, size, most, "zlib")
        if bomb:
            got = "a chunk that unpacks to more"
            raise InputError(where, f"chunks of {nominal} bytes", got, "repack the file")
    return sum(size for _, size in chunks)


def _product(shape: tuple[int, ...]) -> int:
    """Exact for any shape: no overflow."""
    return int(np.prod(np.array(shape, dtype=object))) if shape else 1
