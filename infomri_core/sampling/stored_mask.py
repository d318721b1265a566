"""A mask as a piece of text, so that it can stand in a plan: its shape, digest and points."""

import base64
import binascii
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import torch

from infomri_core.data.arrays import open_npy
from infomri_core.system.errors import InputError

_FORM = re.compile(r"(\d{1,5})x(\d{1,5}):([0-9a-f]{64}):([A-Za-z0-9+/=]*)")
_EXPECTED = "0 and 1, (H, W), not all 0"
_REMEDY = "open the plan as a file with the mask's file beside it"


def is_packed(text: str) -> bool:
    """Whether ``text`` is a mask and no file's name."""
    return _FORM.fullmatch(text) is not None


def packed(mask: np.ndarray) -> str:
    """A mask (H, W) of 0 and 1 as text: ``HxW:sha256:base64`` of its bits, row by row."""
    height, width = mask.shape
    bits = np.packbits(mask.astype(np.uint8)).tobytes()
    points = base64.b64encode(bits).decode()
    return f"{height}x{width}:{_digest(height, width, bits)}:{points}"


def unpacked(text: str) -> torch.Tensor:
    """The mask (H, W), float32, of :func:`packed`. Raises ``InputError`` for any other text."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError("[[arms]] mask", "a mask's points", repr(text)[:60], _REMEDY)
    height, width, digest = int(found[1]), int(found[2]), found[3]
    try:
        bits = base64.b64decode(found[4], validate=True)
    except binascii.Error:
        bits = b""
    n = height * width
    if len(bits) != (n + 7) // 8 or _digest(height, width, bits) != digest:
        raise InputError("[[arms]] mask", "points that fit their sha256", "others", _REMEDY)
    points = np.unpackbits(np.frombuffer(bits, np.uint8))[:n]
    if not points.any():
        raise InputError("[[arms]] mask", _EXPECTED, "nothing sampled", "give another mask")
    return torch.from_numpy(points.reshape(height, width).astype(np.float32))


def digest_of(text: str) -> str:
    """The sha256 in a mask's text, once it fits the points."""
    unpacked(text)
    return text.split(":")[1]


def read_mask(path: Path) -> np.ndarray:
    """The mask (H, W) of a .npy or .json file. Raises ``InputError``."""
    try:
        if path.suffix.lower() == ".json":
            mask = np.array(json.loads(path.read_text(encoding="utf-8")))
        else:
            mask = np.array(open_npy(path, _EXPECTED))
    except OSError as error:
        got = error.strerror or "no such file"
        raise InputError(str(path), "a mask, .npy or .json", got, "check the path") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(path), _EXPECTED, "no JSON of numbers", "save it again") from None
    whole = mask.ndim == 2 and mask.dtype.kind in "biuf"
    if not whole or not np.isin(mask, (0, 1)).all() or not mask.any():
        got = f"{mask.dtype} {mask.shape}" if not whole else "other values"
        raise InputError(str(path), _EXPECTED, got, "binarise the mask")
    return mask


def _digest(height: int, width: int, bits: bytes) -> str:
    return hashlib.sha256(f"{height}x{width}:".encode() + bits).hexdigest()
