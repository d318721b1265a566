"""How much memory and disk a file from outside may ask for, before a byte of it is unpacked."""

import os
import zlib
from pathlib import Path

from infomri_core.system.errors import InputError

GIB = 2**30
LIMIT_GIB = 4.0
VARIABLE = "INFOMRI_LIMIT_GIB"
MAX_SIDE = 8192
_WINDOW = {"gzip": 31, "zlib": 15, "raw": -15}
_STEP = 1 << 20


def limit_bytes(gib: float = 0.0) -> int:
    """Bytes that one read of a foreign file may need: ``gib`` if above 0, else the environment's
    ``INFOMRI_LIMIT_GIB``, else 4 GiB. ``InputError`` when that is no number above 0."""
    if gib > 0:
        return int(gib * GIB)
    text = os.environ.get(VARIABLE, "")
    try:
        value = float(text) if text else LIMIT_GIB
    except ValueError:
        value = 0.0
    if not 0 < value < 2**20:
        raise InputError(VARIABLE, "GiB, a number above 0", f"'{text}'", "write e.g. 8")
    return int(value * GIB)


def check_bytes(where: str, n_bytes: int, limit: int) -> None:
    """Refuse a read of ``n_bytes`` when it is more than ``limit``."""
    if n_bytes > limit:
        raise InputError(
            where,
            f"at most {limit / GIB:.3g} GiB to read at once",
            f"{n_bytes / GIB:.3g} GiB",
            f"if the file is yours and correct, raise limit_gib= in the URI or {VARIABLE}",
        )


def inflates_within(path: Path, start: int, n_bytes: int, limit: int, kind: str) -> bool:
    """Whether the ``kind`` ('gzip', 'zlib' or 'raw') stream of ``n_bytes`` at ``start`` of the
    file unpacks to at most ``limit`` bytes; memory holds one step of it.

    A damaged stream is within: anyone who reads it finds out.
    """
    inflater, total, left = zlib.decompressobj(_WINDOW[kind]), 0, n_bytes
    with path.open("rb") as stream:
        stream.seek(start)
        while left > 0 and not inflater.eof:
            block = stream.read(min(_STEP, left))
            if not block:
                return True
            left -= len(block)
            while block and not inflater.eof:
                try:
                    total += len(inflater.decompress(block, _STEP))
                except zlib.error:
                    return True
                if total > limit:
                    return False
                block = inflater.unconsumed_tail
    return True


def gunzip(raw: bytes, limit: int) -> bytes:
    """One gzip member, at most ``limit`` bytes of it; ``ValueError`` if there are more."""
    inflater = zlib.decompressobj(31)
    data = inflater.decompress(raw, limit)
    if not inflater.eof:
        raise ValueError("a stream that is cut off, or unpacks to more than the limit")
    return data
