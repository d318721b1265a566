"""The child's part of a trial: it reads of each HDF5 file what HDF5 could loop or crash on.

Run as a script, alone (no package of this project, no torch: it starts in a moment). Each line of
its input is JSON, ``[path, CPU seconds]``; it answers a line when it is through with the file,
whatever it found: the reader tells what is wrong with it. It ends after a while without work.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

READY, THROUGH = b"ready\n", b"through\n"
_IDLE_SECONDS = 30.0
_DEPTH = 3
_ROOM_BYTES = 4 << 30
_READ_BYTES = 256 << 20
_ROWS = 4096
_ATTRIBUTE_BYTES = 1 << 20
_PR_SET_DUMPABLE = 4
_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, 32000)


def walk(path: str) -> None:
    """Names, types, attributes, the chunks' index, text and rows of variable length in full, the
    first and last row of the rest. Links out of the file are not followed."""
    with h5py.File(path, "r") as file:
        _attributes(file)
        _group(file, 0, path)


def _group(group: Any, depth: int, path: str) -> None:
    for name in group:
        _tried(_member, group, name, depth, path)


def _member(group: Any, name: str, depth: int, path: str) -> None:
    if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        return
    found = group[name]
    if isinstance(found, h5py.Group):
        if depth < _DEPTH:
            _group(found, depth + 1, path)
    elif isinstance(found, h5py.Dataset):
        _attributes(found)
        _tried(_dataset, found, path)


def _attributes(owner: Any) -> None:
    for name in owner.attrs:
        _tried(_attribute, owner, name)


def _attribute(owner: Any, name: str) -> None:
    stored = owner.attrs.get_id(name)
    n = _product(stored.shape or ())
    if n <= _ROWS and n * stored.get_type().get_size() <= _ATTRIBUTE_BYTES:
        owner.attrs[name]


def _dataset(dataset: Any, path: str) -> None:
    plist, shape = dataset.id.get_create_plist(), dataset.shape
    elsewhere = plist.get_external_count() or plist.get_layout() == h5py.h5d.VIRTUAL
    known = all(plist.get_filter(i)[0] in _FILTERS for i in range(plist.get_nfilters()))
    if shape is None or elsewhere or not known:
        return
    item = max(dataset.dtype.itemsize, dataset.id.get_type().get_size(), 1)
    block = item * _product(shape[1:])
    if plist.get_layout() == h5py.h5d.CHUNKED:
        dataset.id.chunk_iter(lambda chunk: None)
        block = max(block, item * _product(plist.get_chunk()))
    if block > _READ_BYTES or 0 in shape:
        return
    if not shape:
        dataset[()]
    elif dataset.id.get_type().detect_class(h5py.h5t.VLEN) or dataset.dtype.hasobject:
        step = max(1, min(_ROWS, _READ_BYTES // max(block, Path(path).stat().st_size)))
        for start in range(0, shape[0], step):
            _tried(dataset.__getitem__, slice(start, start + step))
    else:
        _tried(dataset.__getitem__, 0)
        _tried(dataset.__getitem__, shape[0] - 1)


def _tried(read: Callable[..., object], *given: object) -> None:
    """What HDF5 refuses is no matter here, and what stands beside it is tried all the same."""
    try:
        read(*given)
    except Exception:
        return


def _product(shape: tuple[int, ...]) -> int:
    return int(np.prod(np.array(shape, dtype=object))) if shape else 1


def _guard() -> None:
    """No core dump, no look into its memory (a file may be a patient's), and no memory without
    end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, _ROOM_BYTES)


def _limit(what: int, value: int) -> None:
    """A soft limit, where the machine lets a process set one; the parent's patience ends too."""
    hard = resource.getrlimit(what)[1]
    try:
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (soft, hard))
    except (OSError, ValueError):
        return


def main() -> None:
    """Answer until the input ends or is silent."""
    _guard()
    os.write(1, READY)
    while select.select([sys.stdin], [], [], _IDLE_SECONDS)[0]:
        line = sys.stdin.readline()
        if not line:
            return
        path, seconds = json.loads(line)
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
        _tried(walk, path)
        os.write(1, THROUGH)


if __name__ == "__main__":
    main()
