"""Updates in fewer bits: what of a float32 vector travels, and by which arrays.

Error feedback (Karimireddy et al. 2019, Algorithm 1): what rounding cuts off an update is added to
the next one, so that nothing is lost in the long run.
"""

from typing import Literal, get_args

import numpy as np

from infomri_core.messages.wire import Arrays

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
BLOCK = 1024
"""Values of an ``int8`` update that share a power of two."""
_CODES, _EXPONENTS = "codes", "exponents"
_LARGEST = 127


def rounded(update: np.ndarray, precision: str) -> np.ndarray:
    """``update``, finite float32 (n,), as it arrives: rounding it again changes nothing.

    ``bfloat16`` keeps eight bits of each value, to within 1/256 of it; ``int8`` whole multiples,
    from -127 to 127, of a power of two for every :data:`BLOCK` values, to within 1/127 of the
    largest of them.
    """
    return update if precision == "float32" else unpacked(packed(update, precision), precision)


def packed(update: np.ndarray, precision: str) -> dict[str, np.ndarray]:
    """The arrays that carry ``update``, finite float32 (n,): 2 n bytes, or n + n / 1024."""
    if precision == "bfloat16":
        bits = update.view(np.uint32).astype(np.uint64)
        even = (bits >> 16) & 1
        return {_CODES: ((bits + 0x7FFF + even) >> 16).astype(np.uint16)}
    blocks = np.zeros((-(-len(update) // BLOCK), BLOCK), np.float32)
    blocks.reshape(-1)[: len(update)] = update
    share, exponent = np.frexp(np.abs(blocks).max(axis=1))
    exponent = exponent - 7 + (share * 128 > _LARGEST)
    exponent = np.clip(exponent, -126, _LARGEST).astype(np.int8)
    codes = np.rint(np.ldexp(blocks, -exponent[:, None].astype(np.int32)))
    codes = codes.astype(np.int8).reshape(-1)[: len(update)]
    return {_CODES: codes, _EXPONENTS: exponent}


def unpacked(arrays: Arrays, precision: str) -> np.ndarray:
    """The update in ``arrays``, float32 (n,). Raises ``ValueError`` or ``KeyError`` for arrays of
    another form."""
    codes = arrays[_CODES]
    wanted = np.uint16 if precision == "bfloat16" else np.int8
    if codes.dtype != wanted or codes.ndim != 1:
        raise ValueError(_CODES)
    if precision == "bfloat16":
        return (codes.astype(np.uint32) << 16).view(np.float32)
    exponents = arrays[_EXPONENTS]
    if exponents.dtype != np.int8 or exponents.shape != (-(-len(codes) // BLOCK),):
        raise ValueError(_EXPONENTS)
    scale = np.repeat(exponents.astype(np.int32), BLOCK)[: len(codes)]
    return np.ldexp(codes.astype(np.float32), scale)
