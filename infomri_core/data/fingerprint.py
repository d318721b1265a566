"""Tells one state of a data set from another, without reading its pixels."""

import hashlib
from pathlib import Path

import numpy as np

from infomri_core.data.base import SliceTable


def fingerprint(table: SliceTable, path: str = "") -> str:
    """Hexadecimal; another one where patients, labels, splits, positions or outlined slices of
    ``table`` changed, or names, sizes or times of the files at ``path``, where there are any."""
    digest = hashlib.sha256(repr((table.label_names, table.exclusive)).encode())
    for column in (table.patients, table.labels, table.split, table.hospital, table.position):
        digest.update(repr(np.asarray(column).tolist()).encode())
    if table.outlined is not None:
        digest.update(b"outlined" + table.outlined.tobytes())
    for file in _files(Path(path)) if path else []:
        stat = file.stat()
        digest.update(repr((str(file), stat.st_size, stat.st_mtime_ns)).encode())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
